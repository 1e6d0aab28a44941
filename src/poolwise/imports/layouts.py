"""Layouts of published embedding models: which one a folder has, and which code in it would run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from poolwise.errors import ModelError
from poolwise.storage.json_text import load_json

Format = Literal["paper", "llm2vec", "gritlm", "nv-embed"]
FORMATS: tuple[Format, ...] = get_args(Format)
ADAPTER = "adapter_config.json"
LLM2VEC = "llm2vec_config.json"
HEAD = "attn_pool.pt"


def read_settings(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} if it does not exist. Raises: ModelError if it cannot be read."""
    if not path.is_file():
        return {}
    try:
        return dict(load_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {error}", "wanted a JSON object") from error


def find_head(folder: Path) -> Path | None:
    """Return the file of the paper's head; None if there is none.

    The paper's training code leaves out the slash, so that the file is beside the folder, as ``FOLDERattn_pool.pt``.
    """
    places = (folder / HEAD, folder.with_name(folder.name + HEAD))
    return next((place for place in places if place.is_file()), None)


def custom_code(folder: Path) -> list[str]:
    """Return what other libraries would run from a folder if they were allowed to; here it never runs."""
    named = read_settings(folder / "config.json").get("auto_map") or {}
    classes = [f"{kind}: {target}" for kind, target in sorted(named.items())] if isinstance(named, dict) else []
    return [*classes, *sorted(path.name for path in folder.glob("*.py"))]


def detect(folders: Sequence[Path]) -> Format:
    """Return the layout of an import.

    Raises: ModelError if it is none of the known ones.
    """
    last = folders[-1]
    config = read_settings(last / "config.json")
    if "latent_attention_config" in config or config.get("model_type") == "nvembed":
        return "nv-embed"
    if any((folder / LLM2VEC).is_file() for folder in folders) or len(folders) > 1:
        return "llm2vec"
    if find_head(last) is not None:
        return "paper"
    code = custom_code(last)
    if any("gritlm" in name.lower() for name in code):
        return "gritlm"
    runs = f"; its code would run {', '.join(code)}, which poolwise does not" if code else ""
    raise ModelError(
        f"cannot tell how {last} was made{runs}",
        f"wanted {HEAD} (the paper), {LLM2VEC} (LLM2Vec), or a configuration of GritLM or NV-Embed",
        f"say it with --format {'|'.join(FORMATS)}",
    )


def refuse_nv_embed(folder: Path) -> None:
    """Raise ModelError: NV-Embed's head and prompts differ from every pooling here."""
    code = custom_code(folder)
    raise ModelError(
        f"{folder} is an NV-Embed model, which cannot be imported exactly: its head adds what the latents give to the "
        "token states as they are, and nv_latent normalises these states first; and its pooling leaves out one token "
        "less than the instruction has"
        + (f". Its own code, which poolwise does not run, is {', '.join(code)}" if code else ""),
        "wanted a layout whose embeddings stay the same",
        "load it with its own code, or list it in `entrants` if sentence-transformers loads it without code",
    )
