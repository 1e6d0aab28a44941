"""Finds out what a name refers to, names the code that comes with it, and loads it for the checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentence_transformers import SentenceTransformer

from poolwise.base_sources.catalogue import is_built_in
from poolwise.base_sources.find import is_gguf_name
from poolwise.checks.check import Check
from poolwise.errors import ModelError, one_line
from poolwise.hub import hub_reason, is_hub_id, snapshot
from poolwise.kernels.devices import require_device
from poolwise.models import load_model, own_folder
from poolwise.models.custom_code import named_code
from poolwise.models.load import load_foreign
from poolwise.records import require_finished

SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.py"]
Kind = Literal["poolwise", "sentence-transformers", "base"]


@dataclass(frozen=True)
class Found:
    """What a name refers to.

    Args:
        folder: with its configuration; None for bases that poolwise finds by other means (built in, GGUF).
        code: the Python code that the folder names, each with the file that names it.
        needs_code: whether it cannot be loaded without that code.
    """

    name: str
    kind: Kind
    folder: Path | None
    code: tuple[str, ...] = ()
    needs_code: bool = False


def find(name: str) -> Found:
    """Return what a name refers to; nothing is loaded and no code is run.

    Raises: ModelError if there is no model, or its training is not finished.
    """
    path = Path(name).expanduser()
    require_finished(path)
    if is_built_in(name) or (is_gguf_name(name) and not path.is_dir()):
        return Found(name, "base", None)
    if (own := own_folder(name)) is not None:
        return Found(name, "poolwise", own)
    folder = _folder(name, path)
    if (folder / "modules.json").is_file():
        kind: Kind = "sentence-transformers"
    elif (folder / "config.json").is_file():
        kind = "base"
    else:
        raise ModelError(
            f"no model in {name}: neither modules.json nor config.json",
            "wanted a sentence-transformers model, a Hugging Face base, or a model saved by poolwise",
            _hint(folder),
        )
    found = named_code(folder)
    code = dict.fromkeys(f"{one} ({named.file})" for named in found for one in named.names)
    return Found(name, kind, folder, tuple(code), any(named.is_needed for named in found))


def _hint(folder: Path) -> str:
    if (folder / "plan.json").is_file():
        return f"this is a study: give one of its runs, in {folder / 'runs'}"
    if (folder / "adapter_config.json").is_file():
        return "this is a LoRA adapter: merge it into its base, or load it with its base and save the whole"
    return "give the folder that holds the model's files"


def _folder(name: str, path: Path) -> Path:
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")) or not is_hub_id(name):
        raise ModelError(
            f"no model {name!r}", "wanted a folder that exists, or a hub id: org/name", "check the path for typos"
        )
    try:
        return snapshot(name, SMALL_FILES)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot load {name}: {hub_reason(error)}",
            "wanted a folder, or a hub id that can be reached",
            "without a network, download the model elsewhere and give its folder",
        ) from error


def check_code(found: Found, is_trusted: bool) -> Check:
    """Return the check of code that comes with a model.

    Raises: ModelError if the model needs it and it is not trusted; the message names all of it.
    """
    shown = ", ".join(found.code)
    if found.needs_code and not is_trusted:
        raise _refused(found)
    measured = {"num_classes": len(found.code), "was_run": bool(found.code) and is_trusted}
    if not found.code:
        return Check("custom code", "pass", "none", "", "", measured)
    if is_trusted:
        return Check("custom code", "pass", f"was run, as you allowed: {shown}", "", "", measured)
    hint = "with it the model may be another one; read it, then pass --trust-remote-code to check that model"
    return Check("custom code", "warn", f"not run: {shown}; transformers' own class was used", "none", hint, measured)


def _refused(found: Found) -> ModelError:
    return ModelError(
        f"{found.name} needs Python code of its own: {', '.join(found.code)}",
        "wanted a model of transformers' and sentence-transformers' classes",
        "read that code, then pass --trust-remote-code to run it",
    )


def load_found(found: Found, device: str | None, is_trusted: bool) -> SentenceTransformer:
    """Return a model that is no base, as its users load it: in its own dtype, not prepared for encoding.

    Raises: ModelError if it cannot be loaded, or needs code that is not trusted; ConfigError for a device that this
        machine does not have.
    """
    require_device(device)
    if found.kind == "poolwise":
        return load_model(str(found.name), device=device)
    if is_trusted and found.code:
        return _load_with_code(found, device)
    try:
        return load_foreign(_loadable(found.name), device=device)
    except ModelError as error:
        if found.code:
            raise _refused(found) from error
        raise


def _loadable(name: str) -> str:
    """Return a name that sentence-transformers takes: it knows no ``org/name@revision``."""
    is_revision = "@" in name and not Path(name).expanduser().is_dir()
    return str(snapshot(name, ["*"])) if is_revision else name


def _load_with_code(found: Found, device: str | None) -> SentenceTransformer:
    """Run the code that comes with a model, which the user has allowed for this call."""
    try:
        return SentenceTransformer(_loadable(found.name), device=device, trust_remote_code=True)
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        raise ModelError(
            f"cannot load {found.name} with its own code: {one_line(error)}",
            hint="its code may need packages, or another version of transformers",
        ) from error
