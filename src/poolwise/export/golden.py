"""Golden vectors: a few texts that exports get wrong, with the embeddings that poolwise computes for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from jaxtyping import Float

from poolwise.errors import DataError, ModelError, one_line
from poolwise.models.attention import exact
from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.records import Record, save_record
from poolwise.storage.arrays import load_array
from poolwise.storage.whole_files import write_bytes

RECORD, VECTORS = "golden.json", "golden.npy"
_LIBRARIES = ("poolwise", "torch", "transformers", "sentence-transformers", "tokenizers")
_SENTENCE = "The committee read every report, compared the figures and asked for a second opinion. "


class ProbeText(Record):
    """A text of the probe set.

    Args:
        label: why it is there, in words.
        prompt_name: the name of the prompt put before it; None for no prompt.
    """

    label: str
    text: str
    prompt_name: str | None = None


class Golden(Record):
    """What an export should return, and how it was made; the vectors are in ``golden.npy``."""

    schema_version: int = 1
    target: str
    design: str
    tolerance: float
    texts: list[ProbeText]
    versions: dict[str, str]


@dataclass(frozen=True)
class GoldenVectors:
    """A record of an export and the unit vectors (N D) of its texts."""

    record: Golden
    vectors: Float[np.ndarray, "N D"]


def probe_texts(model: EmbeddingModel) -> list[ProbeText]:
    """Return the probe set of a model: each text without a prompt, and two of them with each of its prompts.

    The text on special tokens holds the words that other tokenizers read as special, and the base's own.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    known = backbone.tokenizer.special_tokens_map.values()
    own = sorted({str(token) for value in known for token in (value if isinstance(value, list) else [value])})
    long = _SENTENCE * (backbone.max_tokens // 8 + 2)
    plain = {
        "short text": "a dog runs in the park",
        "one word": "guitar",
        "no text": "",
        "blank text": " ",
        "text of several lines": "How do I sort a list of words?\n\n\tBy length, in place.\r\n",
        "text near the maximum length": _SENTENCE * max(1, backbone.max_tokens // 32),
        "text beyond the maximum length": long,
        "special tokens of other models": "</s> <s> [CLS] <|endoftext|> and <|im_end|> in a sentence",
        "special tokens of the base": f"before {' between '.join(own)} after",
        "unicode": "Zürich – naïve café, 東京の天気, मौसम, 🎻 e\u0301 \u200b end",
    }
    texts = [ProbeText(label=label, text=text) for label, text in plain.items()]
    prompted = ("short text", "no text", "text beyond the maximum length")
    for name, prompt in model.prompts.items():
        if prompt:
            texts += [ProbeText(label=label, text=plain[label], prompt_name=name) for label in prompted]
    return texts


def golden_vectors(model: EmbeddingModel, texts: list[ProbeText]) -> Float[np.ndarray, "N D"]:
    """Return the unit vectors of texts, each with its prompt, encoded one at a time and in fp32.

    Encoded alone, no text depends on how a batch is padded; an export is compared in batches.
    """
    with exact(model):
        rows = [
            model.encode(probe.text, prompt_name=probe.prompt_name, prompt=None if probe.prompt_name else "")
            for probe in texts
        ]
    return unit(np.stack(rows).astype(np.float32))


def unit(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Return vectors scaled to length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def make_golden(model: EmbeddingModel, target: str, tolerance: float) -> GoldenVectors:
    """Return the golden vectors of a model for one target, computed by poolwise."""
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    texts = probe_texts(model)
    record = Golden(
        target=target,
        design=backbone.design,
        tolerance=tolerance,
        texts=texts,
        versions={name: metadata.version(name) for name in _LIBRARIES},
    )
    return GoldenVectors(record, golden_vectors(model, texts))


def save_golden(golden: GoldenVectors, folder: Path) -> None:
    """Write golden vectors into the folder of an export."""
    np.save(folder / VECTORS, golden.vectors, allow_pickle=False)
    save_record(golden.record, folder / RECORD)


def load_golden(folder: Path) -> GoldenVectors:
    """Return the golden vectors of an export.

    Raises: ModelError where the folder has none, or they cannot be read or do not belong together.
    """
    if not (folder / RECORD).is_file():
        raise ModelError(
            f"{folder} has no {RECORD}",
            "wanted a folder that poolwise export wrote",
            "give that folder, or export the model again",
        )
    try:
        record = Golden.model_validate_json((folder / RECORD).read_bytes())
        vectors = load_array(folder / VECTORS)
    except (OSError, ValueError, DataError) as error:
        raise ModelError(
            f"cannot read the golden vectors of {folder}: {one_line(error)}", hint="export the model again"
        ) from error
    if vectors.ndim != 2 or len(vectors) != len(record.texts):
        raise ModelError(
            f"{folder / VECTORS} has shape {vectors.shape}, {RECORD} has {len(record.texts)} texts",
            "wanted one vector per text",
            "export the model again",
        )
    return GoldenVectors(record, vectors)


def texts_as_json(texts: list[ProbeText]) -> bytes:
    """Return the content of the file that a runner reads."""
    return json.dumps([{"text": probe.text, "prompt_name": probe.prompt_name} for probe in texts]).encode()


def save_texts(texts: list[ProbeText], path: Path) -> None:
    """Write the file that a runner reads."""
    write_bytes(path, texts_as_json(texts))
