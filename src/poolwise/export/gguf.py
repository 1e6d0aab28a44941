"""Target ``gguf``: one file for llama.cpp, made by its converter, with pooling, attention and EOS in its metadata."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from poolwise.design import parse_design
from poolwise.errors import ConfigError, ModelError, needs_extra
from poolwise.export.expressible import design_refusal
from poolwise.export.plain_folder import backbone_of, write_settings, write_weights
from poolwise.models.embedding_model import EmbeddingModel

with needs_extra("the target gguf", "gguf"):
    from gguf import Keys, PoolingType

    from poolwise.export.gguf_keys import set_keys

RUNNER = str(Path(__file__).with_name("run_gguf.py"))
OPTIONS = ("converter",)
TOLERANCE = 1e-4
"""The largest difference was 7e-7 on a random Llama: last+causal, mean+causal, mean+bidirectional, llama.cpp b11549."""
CONVERTER = "POOLWISE_GGUF_CONVERTER"
"""The environment variable that names llama.cpp's converter, where it is not on PATH."""
SERVER = "POOLWISE_LLAMA_SERVER"
"""The environment variable that names llama.cpp's server, which the check runs."""
FILE, SETTINGS = "model.gguf", "poolwise_export.json"
_POOLINGS = {"last": PoolingType.LAST, "mean": PoolingType.MEAN}
_INSTALL = "git clone https://github.com/ggml-org/llama.cpp, build it, and put both on PATH"


def refusal(model: EmbeddingModel) -> str | None:
    """Return why llama.cpp cannot express the model; None if it may."""
    if reason := design_refusal(model, "llama.cpp", with_projection=False):
        return reason
    backbone = backbone_of(model)
    design, bos = parse_design(backbone.design), backbone.tokenizer.bos_token_id
    if design.pooling not in _POOLINGS:
        return f"llama.cpp has no pooling {design.pooling}; give --target sentence-transformers"
    if backbone.tokens.prefix not in ([], [bos]):
        return (
            f"its texts start with the ids {backbone.tokens.prefix}, and llama.cpp adds BOS only; "
            "give --target sentence-transformers"
        )
    if model.truncate_dim is not None:
        return "llama.cpp does not shorten embeddings; load it without truncate_dim"
    return None


def find_converter(named: object = None) -> list[str]:
    """Return the command of llama.cpp's converter: as named, from the environment, or on PATH.

    Raises: ConfigError with what to install where there is none.
    """
    found = named or os.environ.get(CONVERTER) or shutil.which("convert_hf_to_gguf.py")
    if found is None:
        raise ConfigError(
            "llama.cpp's converter, convert_hf_to_gguf.py, is not on PATH",
            f"wanted it there, in the option converter, or in {CONVERTER}",
            _INSTALL,
        )
    path = Path(str(found)).expanduser()
    if not path.is_file():
        raise ConfigError(f"no converter {path}", "wanted llama.cpp's convert_hf_to_gguf.py", _INSTALL)
    return [sys.executable, str(path)] if path.suffix == ".py" else [str(path)]


def require_server() -> None:
    """Raise ConfigError where llama.cpp's server is missing: an export that cannot be checked is not written."""
    named = os.environ.get(SERVER)
    if Path(named).is_file() if named else shutil.which("llama-server") is not None:
        return
    raise ConfigError(
        f"no llama.cpp server {named}" if named else "llama.cpp's llama-server is not on PATH",
        f"wanted it there or in {SERVER}: an export is compared with poolwise before it counts as done",
        _INSTALL,
    )


def write(model: EmbeddingModel, folder: Path, *, options: Mapping[str, object]) -> None:
    """Write ``model.gguf`` in fp32, and the prompts and the length, which a GGUF file has no place for.

    Raises: ConfigError where converter or server is missing; ModelError where the converter fails.
    """
    command = find_converter(options.get("converter"))
    require_server()
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        write_weights(backbone_of(model), Path(place))
        # As it was published: the converter knows a tokenizer by the ids that it gives to one long text.
        published = copy.deepcopy(backbone_of(model).tokenizer)
        published.split_special_tokens = False
        published.save_pretrained(place)
        convert(command, Path(place), folder / FILE)
    set_keys(folder / FILE, metadata(model))
    backbone = backbone_of(model)
    settings = {
        "prompts": dict(model.prompts),
        "max_tokens": backbone.max_tokens,
        "num_prefix": len(backbone.tokens.prefix),
        "eos_id": backbone.eos_id,
        "split_special_tokens": backbone.tokens.splits_special,
    }
    write_settings(folder / SETTINGS, settings)


def convert(command: list[str], source: Path, out: Path) -> None:
    """Run the converter on a Hugging Face folder. Raises: ModelError with its last line where it writes no file."""
    done = subprocess.run(
        [*command, str(source), "--outfile", str(out), "--outtype", "f32"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and out.is_file():
        return
    lines = [line for line in [*done.stdout.splitlines(), *done.stderr.splitlines()] if line.strip()]
    raise ModelError(
        f"llama.cpp's converter failed: {lines[-1].strip() if lines else f'exit code {done.returncode}'}",
        "wanted the packages it needs, and a base whose architecture and tokenizer it knows",
        "install them, or give --target sentence-transformers",
    )


def metadata(model: EmbeddingModel) -> dict[str, bool | int]:
    """Return what llama.cpp must know of a model, by key: pooling, attention, BOS and EOS."""
    backbone = backbone_of(model)
    return {
        Keys.LLM.POOLING_TYPE: int(_POOLINGS[parse_design(backbone.design).pooling]),
        Keys.Attention.CAUSAL: backbone.attention_mode.ends_causal,
        Keys.Tokenizer.ADD_BOS: bool(backbone.tokens.prefix),
        Keys.Tokenizer.ADD_EOS: True,
        Keys.Tokenizer.EOS_ID: backbone.eos_id,
    }


def _special(model: EmbeddingModel) -> str:
    if not backbone_of(model).tokens.splits_special:
        return ""
    return """
- The server reads a special token that is spelled in a text as the special token, poolwise as its characters. For
  texts of strangers, send the ids that `/tokenize` returns with `"add_special": true, "parse_special": false`."""


def usage(model: EmbeddingModel) -> str:
    """Return how to run the file with llama.cpp."""
    backbone = backbone_of(model)
    size = backbone.max_tokens
    return f"""`{FILE}` is for llama.cpp. Pooling, attention and EOS are in its metadata. Prompts are in
`{SETTINGS}`; put one before a text.

```console
$ llama-server -m {FILE} --embeddings -c {size} -b {size} -ub {size}
$ curl http://127.0.0.1:8080/v1/embeddings -d '{{"input": "a dog runs in the park"}}'
```

## Limits

- llama.cpp does not truncate: it refuses a text of more than {size} tokens, of which poolwise keeps the first
  {size - 1} and EOS.
- The server's attention is in fp16 unless it gets `--flash-attn off --cache-type-k f32 --cache-type-v f32`, with which
  the check was made; embeddings then differ in the third decimal.
- The file is in fp32. `llama-quantize` makes it smaller; how far that moves embeddings was not measured.{
        _special(model)
    }"""
