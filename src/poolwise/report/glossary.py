"""The ten words of a report that a reader may not know."""

from __future__ import annotations

from poolwise.report.blocks import Definitions

PAPER_TITLE = "Pooling And Attention: What Are Effective Designs For LLM-Based Embedding Models?"
PAPER = f'paper:1 to paper:5 are the five designs of "{PAPER_TITLE}" (arXiv:2409.02727).'

WORDS = [
    ("Design", "how a language model becomes an embedding model: pooling+attention, such as mean+causal."),
    ("Pooling", "how the states of a text's tokens become one embedding: the last token, their mean, a trained head."),
    ("Attention", "which tokens a token sees: causal, only earlier ones; bidirectional, all of the text."),
    (
        "Baseline",
        "a model without this training, to compare with: untuned is the base as it is, bm25 is keyword search, random "
        "is random embeddings.",
    ),
    ("Seed", "the number that starts all random choices of a training run; other seeds give slightly other scores."),
    ("Contrast", "the difference between two models' scores: the first minus the second."),
    (
        "Corrected p",
        "p is how often chance alone would give such a difference. Among many tests some p are small by chance; the "
        "corrected p counts all tests of the family, those corrected together.",
    ),
    ("Interval", "the range of true differences that fit the data, at the level stated (95% of studies)."),
    ("Region of practical equality", "the differences that are too small to matter in practice."),
    ("Not decided", "the data allow more than one of better, equal and worse. It is not the same as equal."),
]


def glossary() -> Definitions:
    """Return the definitions of the ten words."""
    return Definitions(WORDS)
