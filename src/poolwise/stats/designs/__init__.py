"""From the item scores of several runs to one Comparison: which pairs, which tests, which verdicts."""
