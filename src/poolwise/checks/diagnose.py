"""Runs the checks of an embedding model in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sentence_transformers import SentenceTransformer

from poolwise.checks.attention import check_attention
from poolwise.checks.batching import check_batches
from poolwise.checks.check import LINES, Check, Diagnosis
from poolwise.checks.pooling import check_pooling
from poolwise.checks.states import check_dtype, check_final_norm, check_normalisation
from poolwise.checks.subject import Subject, examined
from poolwise.checks.tokens import check_tokens
from poolwise.checks.vectors import check_finite, check_speed, check_vectors
from poolwise.errors import is_out_of_memory, one_line

OnProgress = Callable[[int, int, str], None]

STEPS: tuple[tuple[Callable[[Subject], list[Check]], tuple[str, ...]], ...] = (
    (check_attention, ("attention", "attention kernels")),
    (check_finite, ("finite values",)),
    (check_tokens, ("chat template", "bos", "eos", "truncation", "padding token", "max length")),
    (check_vectors, ("distinct vectors", "spread", "distractors")),
    (check_batches, ("batch invariance", "padding side")),
    (check_pooling, ("pooling", "prompt")),
    (check_final_norm, ("final norm",)),
    (check_normalisation, ("normalisation",)),
    (check_dtype, ("dtype",)),
    (check_speed, ("speed",)),
)
"""What is measured, and the lines of the table that it gives."""


def diagnose(
    model: SentenceTransformer,
    folder: Path | None = None,
    on_progress: OnProgress = lambda done, total, detail: None,
    first: Sequence[Check] = (),
) -> Diagnosis:
    """Return the checks of a loaded embedding model. The model is not changed.

    They compute as the model does. If it computes in less than fp32, whatever compares embeddings is repeated in fp32,
    so rounding is not taken for a fault. A check that the model stops with an error has failed; the message is its
    finding.

    Args:
        folder: the model's folder; what its files claim is compared with what is measured.
        on_progress: called with the steps done, the total steps, and what is measured now.
        first: checks that were made before the model was loaded.
    Raises: ModelError if the model has no transformer inside.
    """
    subject = Subject(model, folder)
    found = list(first)
    stopped: list[str] = []
    with examined(subject):
        for place, (step, names) in enumerate(STEPS):
            on_progress(place, len(STEPS), ", ".join(names))
            found += _performed(step, names, subject, stopped)
    on_progress(len(STEPS), len(STEPS), "done")
    order = list(LINES)
    return Diagnosis("embedding model", tuple(sorted(found, key=lambda check: order.index(check.name))))


def _performed(
    step: Callable[[Subject], list[Check]], names: tuple[str, ...], subject: Subject, stopped: list[str]
) -> list[Check]:
    """Return the checks of one step. The first step that the model stops with an error fails; later ones name it."""
    try:
        return step(subject)
    except (RuntimeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        if stopped:
            return [Check(name, "skip", f"not judged: see {stopped[0]}") for name in names]
        stopped.append(names[0])
        reason = one_line(error)
        failed = Check(names[0], "fail", f"the model stops with an error: {reason}")
        return [failed, *(Check(name, "skip", f"not judged: see {names[0]}") for name in names[1:])]
