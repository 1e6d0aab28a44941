"""Target ``onnx``: one graph from token ids to the embedding, which runs in onnxruntime; in int8 where asked."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from poolwise.errors import ModelError, needs_extra
from poolwise.export.expressible import base_refusal
from poolwise.export.golden import golden_vectors, probe_texts
from poolwise.export.graph import EmbeddingGraph, counts_prompt
from poolwise.export.plain_folder import backbone_of, write_settings
from poolwise.export.quiet import quiet
from poolwise.export.tokenizer_json import tokenizer_json
from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_text

with needs_extra("the target onnx", "onnx"):
    # torch's exporter imports these two only once it exports.
    import onnx  # noqa: F401
    import onnxscript  # noqa: F401

    from poolwise.export.int8 import Drift, quantise, require_close

RUNNER = str(Path(__file__).with_name("run_onnx.py"))
OPTIONS = ("int8",)
TOLERANCE = 1e-5
OPSET = 18
"""The version of ONNX's operators that a graph uses: the one that torch's exporter is written in."""
GRAPH, SETTINGS = "model.onnx", "poolwise_export.json"
_BATCH_SIZE = 32
_MOST_BYTES = 1_900_000_000
"""Weights beyond this are in ``model.onnx.data``: a file in ONNX's format holds at most 2 GiB."""
_INPUTS = ("input_ids", "attention_mask", "num_prompt")


def refusal(model: EmbeddingModel) -> str | None:
    """Return why a base cannot be a graph; None for every design on a base with plain weights and a tokenizer.json."""
    return base_refusal(model)


def write(model: EmbeddingModel, folder: Path, *, options: Mapping[str, object]) -> str | None:
    """Write graph, tokenizer and settings into a folder; with ``int8`` return the measured drift in words.

    Raises: ModelError with the reason where torch cannot export the architecture, or int8 changes too much.
    """
    backbone, graph = backbone_of(model), EmbeddingGraph(model)
    export_graph(graph, folder / GRAPH)
    write_text(folder / "tokenizer.json", tokenizer_json(backbone))
    settings = _settings(model, backbone)
    write_settings(folder / SETTINGS, settings)
    if not options.get("int8"):
        return None
    probes = probe_texts(model)
    drift = quantise(folder, probes, golden_vectors(model, probes), is_large=is_large(graph))
    # A text alone in its batch: in int8 its embedding would depend on the others.
    settings |= {"weights": "int8", "batch_size": 1, "int8": asdict(drift)}
    write_settings(folder / SETTINGS, settings)
    require_close(drift)
    return _int8_notes(drift)


def rounding(folder: Path) -> float | None:
    """Return the largest difference that an export in int8 may have, twice the measured one; None in fp32.

    The products of int8 are the same on every CPU, but what is rounded to them differs in its last bits.
    """
    measured = load_json(folder / SETTINGS).get("int8")
    return None if measured is None else 2 * float(measured["difference"])


def is_large(graph: EmbeddingGraph) -> bool:
    """Return whether the weights of a graph need a file of their own."""
    tensors = [*graph.parameters(), *graph.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) > _MOST_BYTES


@torch.no_grad()
def export_graph(graph: EmbeddingGraph, path: Path) -> None:
    """Write a graph with free numbers of texts and tokens.

    Raises: ModelError with the reason where torch cannot export it.
    """
    ids = torch.arange(14).view(2, 7) % graph.backbone.tokens.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    arguments, axes = [ids, mask], [{0: "batch", 1: "length"}, {0: "batch", 1: "length"}]
    if graph.counts_prompt:
        arguments, axes = [*arguments, torch.tensor([0, 2])], [*axes, {0: "batch"}]
    try:
        with quiet():
            torch.onnx.export(
                graph,
                tuple(arguments),
                path,
                input_names=_INPUTS[: len(arguments)],
                output_names=["sentence_embedding"],
                dynamic_shapes=tuple(axes),
                opset_version=OPSET,
                external_data=is_large(graph),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        kind = graph.backbone.model.config.model_type
        raise ModelError(
            f"torch {torch.__version__} cannot export {kind} to ONNX: {_reason(error)}",
            "wanted an architecture whose forward does not depend on the values of its inputs",
            "use the target sentence-transformers, or load the model with poolwise.load_model",
        ) from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _settings(model: EmbeddingModel, backbone: Backbone) -> dict[str, object]:
    tokens = backbone.tokens
    return {
        "design": backbone.design,
        "base": backbone.base,
        "weights": "fp32",
        "opset": OPSET,
        "width": _width(model),
        "max_tokens": backbone.max_tokens,
        "prompts": dict(model.prompts),
        "batch_size": _BATCH_SIZE,
        "num_prefix": len(tokens.prefix),
        "num_suffix": 1 + len(tokens.soft_ids),
        "eos_id": tokens.eos_id,
        "pad_id": tokens.pad_id,
        "reads_twice": tokens.echoes,
        "landmark_every": tokens.landmark_every,
        "split_special_tokens": tokens.splits_special,
        "counts_prompt": counts_prompt(backbone),
    }


def _width(model: EmbeddingModel) -> int:
    return int(model.truncate_dim or model.get_embedding_dimension() or 0)


def usage(model: EmbeddingModel) -> str:
    """Return how to use the graph in onnxruntime, with the code that the check has run."""
    backbone = backbone_of(model)
    third = (
        "\nA third input, `num_prompt` (texts), says how many first tokens of each text belong to its prompt: this "
        "design treats them differently. The code below counts them.\n"
        if counts_prompt(backbone)
        else ""
    )
    name = next((name for name, prompt in model.prompts.items() if prompt), None)
    prompted = f", prompt_name={name!r}" if name else ""
    return f"""`{GRAPH}` (opset {OPSET}) takes `input_ids` and `attention_mask`, both int64 (texts, tokens), for any
number of texts and tokens, and returns `sentence_embedding`, fp32 (texts, {_width(model)}): unit vectors.
Padding may be on either side.
{third}
`tokenizer.json` truncates a text and adds what the model reads before and after it, EOS at the end. Prompts are in
`{SETTINGS}`. Install `pip install onnxruntime tokenizers`, and run in this folder:

```python
{_runner_code()}

encoder = Encoder(".")
vectors = encoder.encode(["a dog runs in the park", "how do I sort a list of words"]{prompted})
print(vectors.shape, vectors @ vectors.T)
```

## Limits

- Used without this code, `tokenizer.json` reads a special token that is spelled in a text as the special token, and
  adds a second EOS to a text that ends in EOS itself.{_LANDMARKS if backbone.tokens.landmark_every else ""}
- The graph is in fp32 and was checked on a CPU."""


_LANDMARKS = " It adds no landmarks inside of a text."


def _runner_code() -> str:
    """Return the imports and the class of the runner."""
    source = Path(RUNNER).read_text(encoding="utf-8")
    tree = ast.parse(source)
    first, last = tree.body[1].lineno - 1, tree.body[-2].lineno - 1
    return "\n".join(source.splitlines()[first:last]).strip()


def _int8_notes(drift: Drift) -> str:
    return f"""## int8

The matrices are in int8 (7 bits, one scale per column, so that no processor saturates); token embeddings are in fp32.
Measured on the texts of `golden.json`, against poolwise in fp32:

- largest cosine distance of a text: {drift.distance:.1e}
- rank agreement of the similarities of all pairs of texts (Spearman): {drift.agreement:.4f}
- **An embedding depends on the other texts of its batch**, by up to {drift.batch_distance:.1e} in cosine distance,
  because activations share one scale per batch. The code above therefore reads one text at a time; with another
  `batch_size`, the same text gets different vectors in different batches."""
