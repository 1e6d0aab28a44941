"""A GGUF file as a plain Hugging Face folder: read by transformers once, dequantised to fp32, kept in the cache."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from poolwise.base_sources.cached import Origin, dequantised_folder, load_origin, save_origin
from poolwise.base_sources.find import GgufSource
from poolwise.base_sources.gguf_header import GgufHeader, cut_file, read_header
from poolwise.errors import ModelError, is_out_of_memory, one_line
from poolwise.models.families import SUPPORTED, refuse_unsuitable
from poolwise.models.tokens import TextTokens
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.whole_files import whole_folder

logger = logging.getLogger(__name__)

READING = 1
"""Raised when the same file would give other weights or token ids, so that cached bases and saved models notice."""
_POSITIONS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_HINT = "use the model's own Hugging Face folder or hub id, or a GGUF file of another decoder-only model"
_ENCODERS = ("bert", "t5", "t5encoder")
"""Ends of the names of architectures that read a text at once; newer ones say it in a key of their own."""


def gguf_fingerprint(source: GgufSource) -> str:
    """Return the hash that identifies a base in a GGUF file, from the file's own hash.

    The cached folder is not hashed: another version of transformers writes the same base in other bytes.
    """
    return fingerprint({"gguf": source.sha256, "reading": READING})


def origin_text(source: GgufSource) -> str:
    """Return what a base was, for people: ``model.Q4_1.gguf (Q4_1, dequantised to fp32)``."""
    return f"{source.file} ({load_origin(dequantised(source)).quantisation}, dequantised to fp32)"


def is_dequantised(source: GgufSource) -> bool:
    """Return whether the base of a GGUF file is in the cache."""
    return dequantised_folder(source.sha256).is_dir()


def dequantised(source: GgufSource) -> Path:
    """Return the folder with configuration, tokenizer and fp32 weights of a GGUF file; made if it is not in the cache.

    Several processes may make it at once: the first to finish wins.

    Raises: ModelError where the file cannot be fetched, is cut or foreign, or is not a decoder that transformers reads.
    """
    folder = dequantised_folder(source.sha256)
    if folder.is_dir():
        return folder
    _require_package(source.file)
    path = source.fetch()
    header = read_header(path)
    _require_whole(path, header)
    _refuse_encoder(path, header)
    _refuse_scaled_positions(path, header)
    try:
        # The libraries draw bars on standard error that would mix with ours.
        with whole_folder(folder, is_shared=True) as partial, contextlib.redirect_stderr(io.StringIO()):
            _write(path, header, source.sha256, partial, folder)
    except PermissionError as error:
        raise ModelError(
            f"cannot write to the cache folder {folder.parent}: {error}", hint="set POOLWISE_CACHE to another folder"
        ) from error
    return folder


def _require_package(file: str) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"cannot read {file}: the package gguf is not installed", hint="pip install 'poolwise[gguf]'")


def _require_whole(path: Path, header: GgufHeader) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    size = path.stat().st_size
    for tensor in header.tensors:
        try:
            block, num_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError) as error:
            raise _unsupported(path, f"{tensor.name} has the unknown type {tensor.kind}") from error
        end = header.data_start + tensor.offset + tensor.num_elements // block * num_bytes
        if end > size:
            raise cut_file(path, f"{tensor.name} ends at byte {end:,}, and the file has {size:,}")
    if header.metadata.get("split.count", 1) not in (0, 1):
        raise _unsupported(path, "it is one part of a split file (join the parts: llama-gguf-split --merge)")


def _refuse_scaled_positions(path: Path, header: GgufHeader) -> None:
    """Raise ModelError where the file scales its positions: transformers' reader leaves that out, silently."""
    found = [tensor.name for tensor in header.tensors if tensor.name in _POSITIONS]
    kind = header.of_architecture("rope.scaling.type")
    found += [f"rope.scaling.type {kind}"] if kind not in (None, "none") else []
    if found:
        raise _unsupported(path, f"its positions are scaled ({found[0]}), which transformers' reader leaves out")


def _refuse_encoder(path: Path, header: GgufHeader) -> None:
    if header.architecture.endswith(_ENCODERS) or header.of_architecture("attention.causal") is False:
        raise ModelError(
            f"cannot use {path} as base: it is an encoder ({header.architecture})",
            "wanted a GGUF file of a decoder-only model",
            "an encoder takes part in a study as it is: name its folder or hub id under entrants",
        )


def _unsupported(path: Path, reason: str) -> ModelError:
    return ModelError(f"cannot use {path} as base: {reason}", "wanted a GGUF file of a decoder-only model", _HINT)


def _write(path: Path, header: GgufHeader, sha256: str, folder: Path, lasting: Path) -> None:
    with _alone(path) as place:
        try:
            model, tokenizer = _read(place, path, header, lasting)
        except ModelError:
            raise
        except Exception as error:  # transformers lets errors of any class through where a file is not as it expects
            if is_out_of_memory(error):
                raise
            reason = one_line(error)
            raise _unsupported(path, f"transformers cannot read it ({header.architecture}): {reason}") from error
    # The model as it was read refuses to be saved. On the meta device the new one takes no memory of its own.
    config = model.config
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_origin(
        Origin(
            file=path.name,
            sha256=sha256,
            quantisation=_quantisation(header),
            architecture=config.model_type,
            num_layers=int(config.num_hidden_layers),
            hidden_size=int(config.hidden_size),
            licence=str(header.metadata.get("general.license", "")),
            is_verified=config.model_type in SUPPORTED,
        ),
        folder,
    )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Yield a folder that holds the file only: transformers also reads the tokenizer and adapter files beside it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / path.name).symlink_to(path.resolve())
        except OSError:  # Windows may forbid links
            shutil.copyfile(path, Path(folder) / path.name)
        yield Path(folder)


def _read(
    place: Path, path: Path, header: GgufHeader, lasting: Path
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer; what makes the base unsuitable is found before its weights are read."""
    config = AutoConfig.from_pretrained(place, gguf_file=path.name, trust_remote_code=False)
    refuse_unsuitable(config, str(path))
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=path.name, trust_remote_code=False)
    tokenizer.name_or_path = str(path)  # which errors name, instead of a temporary folder
    TextTokens(tokenizer, config.get_text_config().vocab_size)
    logger.warning("%s: dequantising to fp32 once, into %s", path.name, lasting)
    model, info = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=path.name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise _unsupported(path, f"{len(missing)} weights are missing, the first is {missing[0]}")
    _require_all_read(path, header, model)
    return model, tokenizer


def _require_all_read(path: Path, header: GgufHeader, model: PreTrainedModel) -> None:
    is_tied = bool(model.config.tie_word_embeddings)
    stored = sum(t.num_elements for t in header.tensors if not (is_tied and t.name == "output.weight"))
    read = sum(weight.numel() for weight in model.parameters())
    if stored != read:
        raise _unsupported(path, f"transformers reads {read:,} of its {stored:,} weights")


def _quantisation(header: GgufHeader) -> str:
    """Return the file's quantisation by llama.cpp's name, such as ``Q4_K_M``; else the type of most weights."""
    from gguf import GGMLQuantizationType, LlamaFileType

    try:
        return LlamaFileType(header.metadata["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (KeyError, ValueError):
        sizes: Counter[int] = Counter()
        for tensor in header.tensors:
            sizes[tensor.kind] += tensor.num_elements
        return str(GGMLQuantizationType(sizes.most_common(1)[0][0]).name)
