"""The model card of a base: description, training data, licences and quality."""

from __future__ import annotations

from pathlib import Path

from transformers import LlamaConfig

FIGURES = "figures"
"""The mark between which ``measure_base.py --card`` writes."""

CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [llama, tiny, base]
---

# poolwise/nano

A small English language model for studies of pooling and attention without a network: the base of poolwise's tests, of
its tutorial and of `make study`. It is a base for embedding models and knows next to nothing of the world; do not use
what it generates.

{shape}

Context {context} tokens. Byte-level BPE of {vocabulary:,} tokens with BOS, EOS and PAD apart from each other; EOS ends
every document.

## Training

{training}

## Data, licence, attribution

| Source | Terms |
| :--- | :--- |
| English Wikipedia, dump of 2014, by its contributors | CC BY-SA 3.0 |
| English books whose copyright has ended | public domain |
| MedQuAD answers (Ben Abacha and Demner-Fushman, 2019; texts of US health institutes) | CC BY 4.0 |

Weights, tokenizer and code: Apache-2.0. The model stores no text by design, but whoever treats its output as a
derivative of Wikipedia has to name it and share alike.

Wikipedia is also where questions and passages of SQuAD, and topics of many evaluation sets, come from: their words
are not new to this base, their pairs and labels are.

## Figures

<!-- figures -->
`scripts/measure_base.py --card` writes them here.
<!-- /figures -->
"""


def card_text(config: LlamaConfig, num_weights: int, training: str) -> str:
    """Return the card of a base that was just trained.

    Args:
        training: how it was trained, as Markdown.
    """
    shape = (
        f"Llama as transformers implements it: {config.num_hidden_layers} layers, width {config.hidden_size}, "
        f"{config.num_attention_heads} heads ({config.num_key_value_heads} for keys and values), feed-forward "
        f"{config.intermediate_size}, tied embeddings, {num_weights / 1e6:.1f} M parameters in bf16."
    )
    return CARD.format(
        shape=shape, training=training, context=config.max_position_embeddings, vocabulary=config.vocab_size
    )


def write_card(folder: Path, text: str) -> None:
    """Write the card of the model in a folder."""
    (folder / "README.md").write_text(text)
