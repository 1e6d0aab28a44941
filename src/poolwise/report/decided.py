"""What a comparison decided, in a few sentences: how many pairs, and where no test can decide."""

from __future__ import annotations

from collections import Counter

from poolwise.report.view import ALPHA, View
from poolwise.report.within import num_hopeless, undecidable_sentences
from poolwise.results import Comparison


def decided_sentences(view: View) -> list[str]:
    """Return what was decided, then for each reason one sentence where no test can decide; empty without contrasts."""
    if not view.comparison.contrasts:
        return []
    return [_count_sentence(view.comparison), *undecidable_sentences(view)]


def _count_sentence(comparison: Comparison) -> str:
    contrasts = comparison.contrasts
    tested = [c for c in contrasts if c.p is not None]
    verdicts = Counter(c.verdict or "not decided" for c in contrasts)
    counted = ", ".join(f"{verdicts[v]} {v}" for v in ("better", "worse", "equal", "not decided") if verdicts[v])
    corrected = sum(c.p_holm < ALPHA for c in tested if c.p_holm is not None)
    hopeless, untested = num_hopeless(comparison), len(contrasts) - len(tested)
    which = "None" if hopeless == len(tested) else f"{hopeless}"
    could = "could" if hopeless == len(tested) else "could not"
    level = f"a corrected p below {ALPHA:g}"
    sentences = [
        f"Verdicts on {len(contrasts)} contrast{'s' * (len(contrasts) != 1)}: {counted}.",
        f"{len(tested)} tested, {corrected} of them with {level}." if tested else "",
        f"{which} of the {len(tested)} tested {could} have reached {level} with any scores." if hopeless else "",
        f"{untested} could not be tested." if untested else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)
