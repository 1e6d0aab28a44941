"""The effect of attending to padding in the paper's design 4: encodes with trained models, with and without a mask.

python scripts/padding_ablation.py recipes/controlled.yaml runs/controlled --out runs/padding
poolwise compare runs/padding --reference masked

At evaluation, the published code gives the head of design 4 all tokens of a padded batch, including padding. Its
training uses one text per batch and has no padding. So no training is needed here; the same weights are used in three
ways:

- masked: real tokens only, as in poolwise;
- batches: padding included, 32 texts a batch, sorted by length, as in sentence-transformers;
- shuffled: padding included, 32 texts a batch, in the order of the tasks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from poolwise.config import load_recipe
from poolwise.encoding.encoder import ModelEncoder
from poolwise.models import load_model, prepare_encoding
from poolwise.records import RunManifest, items_path, load_record, save_record
from poolwise.tasks import Encoder, evaluate_task, load_tasks

DESIGN, BATCH = "latent+bidirectional", 32


class PaddedEncoder:
    """Reads padded batches and lets the head attend to the padding; what the base reads stays masked."""

    def __init__(self, model: SentenceTransformer, in_order_of_length: bool) -> None:
        self.model, self.in_order_of_length = model, in_order_of_length
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Return one vector a text; a text that was read before keeps its vector."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if self.in_order_of_length:
            missing.sort(key=len, reverse=True)
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            self._known |= dict(zip(part, self._read(part, prompt), strict=True))
        return np.stack([self._known[text] for text in texts])

    @torch.inference_mode()
    def _read(self, texts: list[str], prompt: str) -> NDArray[np.float32]:
        backbone, pooling, *rest = self.model
        features: dict[str, Any] = backbone.preprocess(texts, prompt=prompt)
        features = backbone(features)
        features["pooling_mask"] = torch.ones_like(features["pooling_mask"])
        for module in (pooling, *rest):
            features = module(features)
        vectors: NDArray[np.float32] = features["sentence_embedding"].float().numpy()
        return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("study", type=Path, help="the recipe's finished study")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--set", action="append", default=[], help="change the recipe's tasks or max_items, as in a study"
    )
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, args.set)
    tasks = load_tasks(recipe.tasks, max_items=recipe.max_items)
    cosines = {}
    for manifest in sorted(args.study.glob("runs/*/run.json")):
        run = load_record(RunManifest, manifest)
        if run.design != DESIGN:
            continue
        masked, padded = (load_model(manifest.parent / "model", max_tokens=recipe.max_tokens) for _ in range(2))
        padded[0].packs = False  # packed texts have no padding
        encoders: dict[str, Encoder] = {
            "masked": ModelEncoder(prepare_encoding(masked)),
            "batches": PaddedEncoder(prepare_encoding(padded), in_order_of_length=True),
            "shuffled": PaddedEncoder(padded, in_order_of_length=False),
        }
        for way, encoder in encoders.items():
            out = args.out / f"{way}-s{run.seed}"
            made = RunManifest(name=way, kind="external", model=str(manifest.parent), seed=run.seed)
            save_record(made, out / "run.json")
            for task in tasks:
                scores = evaluate_task(task, encoder)
                save_record(scores, items_path(out, task.name))
                print(f"seed {run.seed} {way} {task.name}: {scores.score:.4f}", flush=True)
        texts = [text for _, text in tasks[0].texts()][:320]
        exact, *others = (encoder.encode(texts, "") for encoder in encoders.values())
        for way, vectors in zip(list(encoders)[1:], others, strict=True):
            cosines[f"{way}, seed {run.seed}"] = round(float((exact * vectors).sum(axis=1).mean()), 4)
    print(json.dumps({"mean cosine to the masked vector": cosines}, indent=2))


if __name__ == "__main__":
    main()
