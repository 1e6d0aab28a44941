"""Embeds texts with a plain Hugging Face folder and pools by hand, as a user would: FOLDER TEXTS.json OUT.npy.

It is run in a process of its own, without poolwise; see ``check.run_export``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one vector per text (B D) of states (B T D), which are padded on the right."""
    if pooling == "last":
        return states[torch.arange(len(mask)), mask.sum(dim=1) - 1]
    weights = (mask * mask.cumsum(dim=1) if pooling == "weighted_mean" else mask).float()
    return (states * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)


@torch.no_grad()
def main() -> None:
    folder, asked, out = map(Path, sys.argv[1:])
    settings = json.loads((folder / "embedding.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModel.from_pretrained(
        folder, trust_remote_code=False, attn_implementation=settings["attn_implementation"]
    )
    probes = json.loads(asked.read_text())
    texts = [settings["prompts"].get(probe["prompt_name"] or "", "") + probe["text"] for probe in probes]
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    vectors = pooled(model(**batch).last_hidden_state, batch["attention_mask"], settings["pooling"])
    np.save(out, torch.nn.functional.normalize(vectors, dim=1).float().numpy())


if __name__ == "__main__":
    main()
