"""A whole screen (8 poolings x 2 attentions x 2 seeds) against the forward passes of the base that it needs.

Both times are from one run, because the passes are jobs of the screen. For comparison, ``SentenceTransformer.encode``
with defaults reads the same texts once for each attention. First, a screened head is checked against the frozen model
that it represents.

python benchmarks/screening.py
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import REPEATS, record, seconds

from poolwise.config import Recipe, build_recipe
from poolwise.design import ALL_DESIGNS, parse_design
from poolwise.embedded.pydoc import pydoc_suite_path
from poolwise.jobs import Job, Progress
from poolwise.models import build_model
from poolwise.models.pooling.base import Pooling
from poolwise.screening import load_head
from poolwise.screening.screen import run_screen
from poolwise.screening.screen_plan import ROLES, screen_keys, screen_recipe
from poolwise.study.inputs import load_inputs

TASKS = (
    "retrieval/pydoc-name-description",
    "retrieval/pydoc-question-class",
    "retrieval/pydoc-summary-body",
    "classification/pydoc-kind",
    "clustering/pydoc-modules",
    "sts/pysts-hard",
)
RECIPE = {
    "name": "screening",
    "base": "poolwise/nano",
    # The measured ratios are of these 16; a pooling that is added later would change what they mean.
    "designs": [name for name in ALL_DESIGNS if not name.startswith(("nv_latent", "pma"))],
    "reference": "last+causal",
    "seeds": [0, 1],
    "data": {"train": ["poolwise/pydoc"], "max_rows": 4000},
    "train": {"steps": 24, "batch_size": 16, "max_tokens": 48},
    "eval": {"max_tokens": 64, "batch_size": 32},
    "anchors": [],
}
TARGET = 1 / 4
"""A screen takes at most four times its passes."""
LEAST_COSINE = 0.999
"""Of a head on states kept in float16 to the same head on the frozen model, in bf16 where that is fast."""


class PassTimes(Progress):
    """Notes when the passes of the base began and ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def job_started(self, job: Job) -> None:
        self._note(job)

    def job_finished(self, job: Job, seconds: float) -> None:
        self._note(job)

    def job_failed(self, job: Job, message: str) -> None:
        raise SystemExit(f"{job.label} failed: {message}")

    def _note(self, job: Job) -> None:
        if job.kind == "pass":
            self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """From the start of the first pass to the end of the last."""
        return self.times[-1] - self.times[0]


def main() -> None:
    suite = pydoc_suite_path()
    recipe = build_recipe(RECIPE | {"tasks": [str(suite / name) for name in TASKS]})
    screens, passes = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(REPEATS):
            out, progress = Path(place) / f"screen-{number}", PassTimes()
            screens.append(seconds(lambda out=out, progress=progress: run_screen(recipe, out, progress)))
            passes.append(progress.seconds)
            print(f"screen {screens[-1]:.1f} s, passes {passes[-1]:.1f} s", flush=True)
        cosine = _worst_cosine(recipe, out)
        plain = _plain_seconds(recipe)
    ratios = [read / screen for screen, read in zip(screens, passes, strict=True)]
    config = {"recipe": RECIPE, "tasks": TASKS, "screen_seconds": screens, "passes_seconds": passes}
    config |= {"plain_encode_seconds": plain, "over_plain_encode": [screen / plain for screen in screens]}
    record("two passes over a whole screen", ratios, target=TARGET, worst_cosine=cosine, **config)
    print(f"  over two encodings of the same texts with encode() at its defaults: {np.median(screens) / plain:.2f}x")


def _worst_cosine(recipe: Recipe, out: Path) -> float:
    """Compare a head of the screen with the frozen model it stands for, on the scores of one task's texts."""
    design = "multilayer+bidirectional"
    scores = json.loads((out / "results.json").read_text())["results"]["scores"]
    run = next(row["run"] for row in scores if (row["name"], row["seed"]) == (design, 0))
    head = load_head(parse_design(design), out / "runs" / run / "head")
    texts = [text for _, text in screen_keys(screen_recipe(recipe), load_inputs(recipe), "evaluation")[:64]]
    slow, fast = _frozen(design, recipe, head).encode(texts), _stored(design, recipe, out, head, texts)
    worst = float(np.einsum("nd,nd->n", slow, fast).min())
    assert worst > LEAST_COSINE, f"a screened head encodes differently: cosine {worst}"
    return worst


def _frozen(design: str, recipe: Recipe, head: Pooling):
    model = build_model(design, recipe.base, method="frozen", max_tokens=recipe.max_tokens).eval()
    model[1].load_state_dict(head.state_dict())
    return model


def _stored(design: str, recipe: Recipe, out: Path, head: Pooling, texts: list[str]):
    from poolwise.screening import StateStore, StoredEncoder, build_stored_model
    from poolwise.screening.screen_plan import screen_spec, states_folder

    parsed = parse_design(design)
    spec = screen_spec(screen_recipe(recipe), load_inputs(recipe), "evaluation", parsed.attention)
    model = build_stored_model(parsed, StateStore(spec, states_folder(out)), pooling=head)
    return StoredEncoder(model).encode(texts, "")


def _plain_seconds(recipe: Recipe) -> float:
    """Return what encoding all texts of the screen once an attention takes without any of our ways."""
    inputs, total = load_inputs(recipe), 0.0
    for attention in ("causal", "bidirectional"):
        for role in ROLES:
            limit = recipe.train.max_tokens if role == "training" else recipe.max_tokens
            model = build_model(f"mean+{attention}", recipe.base, method="frozen", max_tokens=limit)
            model[0].packs = False
            texts = [text for _, text in screen_keys(screen_recipe(recipe), inputs, role)]
            model.encode(texts[:64])
            total += seconds(lambda model=model, texts=texts: model.encode(texts))
    return total


if __name__ == "__main__":
    main()
