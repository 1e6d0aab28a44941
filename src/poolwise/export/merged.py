"""Target ``merged``: a plain Hugging Face folder, whose token states the user pools with a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poolwise.design import parse_design
from poolwise.export.expressible import design_refusal
from poolwise.export.plain_folder import (
    backbone_of,
    kernel_of,
    special_tokens_limit,
    write_plain,
    write_settings,
)
from poolwise.models.embedding_model import EmbeddingModel

RUNNER = str(Path(__file__).with_name("run_merged.py"))
TOLERANCE = 1e-5
"""Measured: 6.6e-7 at most over tiny random bases, 2e-7 on poolwise/nano; deep bases and other CPUs round more."""
OPTIONS: tuple[str, ...] = ()
SETTINGS = "embedding.json"


def refusal(model: EmbeddingModel) -> str | None:
    """Return why pooling by hand is not enough for the model; None if it is."""
    return design_refusal(model, "a plain Hugging Face folder", with_projection=False)


def write(model: EmbeddingModel, folder: Path, *, options: Mapping[str, object]) -> None:
    """Write the folder, with a file that says how its token states become an embedding."""
    backbone = backbone_of(model)
    write_plain(model, folder)
    settings = {
        "pooling": parse_design(backbone.design).pooling,
        "attn_implementation": kernel_of(backbone),
        "prompts": dict(model.prompts),
        "normalize": True,
    }
    write_settings(folder / SETTINGS, settings)


_POOLINGS = {
    "last": "pooled = states[torch.arange(len(mask)), mask.sum(dim=1) - 1]  # EOS; padding is on the right",
    "mean": "pooled = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)",
    "weighted_mean": "weights = (mask * mask.cumsum(dim=1)).float()  # 1, 2, 3 ... by position\n"
    "pooled = (states * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)",
}


def usage(model: EmbeddingModel) -> str:
    """Return, in Markdown, how to load the folder and pool its token states."""
    backbone = backbone_of(model)
    kernel = ', attn_implementation="eager"' if kernel_of(backbone) == "eager" else ""
    needs = "" if backbone.attention_mode.ends_causal else " (transformers 5.2 or newer: older ones read it as causal)"
    return f"""
A plain Hugging Face folder{needs}. Its tokenizer adds EOS itself; put a prompt before the text.

```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModel.from_pretrained("."{kernel})
batch = tokenizer(["a dog runs", "stocks fell"], padding=True, truncation=True, return_tensors="pt")
mask = batch["attention_mask"]
with torch.no_grad():
    states = model(**batch).last_hidden_state
{_POOLINGS[parse_design(backbone.design).pooling]}
print(torch.nn.functional.normalize(pooled, dim=1).shape)
```

{special_tokens_limit(backbone)}
"""
