"""Code that comes with an export: a check runs only the file that poolwise itself bundles."""

from __future__ import annotations

from pathlib import Path

from poolwise.errors import ModelError
from poolwise.storage.json_text import load_json

BUNDLED = "bundled_modules.py"
"""The one file with code that an export may hold; a copy of the module of that name in this room."""
SOURCE = Path(__file__).with_name(BUNDLED)
STOCK = "sentence_transformers.models"
MODULES_WITH_CODE = (
    ("", f"{Path(BUNDLED).stem}.Reader"),
    ("1_Head", f"{Path(BUNDLED).stem}.Head"),
    ("2_Normalize", f"{STOCK}.Normalize"),
)
"""Path and class of each module of an export with code. It is loaded with ``trust_remote_code=True``, with which other
classes of sentence-transformers call what their configurations name, so it may have no others."""
_LIBRARY = "sentence_transformers."
_RUNS = (".py", ".pyc", ".so", ".bin", ".pkl", ".pt")


def require_own_code(folder: Path) -> None:
    """Check that loading an export runs no code but that of libraries and, unchanged, poolwise's own bundled file.

    Raises: ModelError naming what it would run.
    """
    if links := sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() and path.is_dir()
    ):
        # What lies behind them would be loaded, and is not seen here.
        raise ModelError(f"{folder} has links to folders: {', '.join(links)}", hint="copy it with cp -rL")
    if foreign := sorted({*_changed_files(folder), *_foreign_modules(folder), *_mapped_classes(folder)}):
        raise ModelError(
            f"{folder} would run code that this poolwise did not write: {', '.join(foreign)}",
            f"wanted no code, or {BUNDLED} as this version of poolwise bundles it",
            "read that code; then load the folder as its README.md says and compare with golden.npy",
        )


def _changed_files(folder: Path) -> list[str]:
    own = SOURCE.read_bytes()
    files = [path for path in folder.rglob("*") if path.suffix in _RUNS]
    is_own = {path for path in files if path == folder / BUNDLED and path.read_bytes() == own}
    return [str(path.relative_to(folder)) for path in files if path not in is_own]


def _foreign_modules(folder: Path) -> list[str]:
    """Return the modules that are not stock ones, or beside code of poolwise's any but its own."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    listed = _read_json(path)
    modules = listed if isinstance(listed, list) and all(isinstance(module, dict) for module in listed) else None
    if modules is None:
        return [path.name]
    named = [(str(module.get("path", "")), str(module.get("type", ""))) for module in modules]
    if all(kind.startswith(_LIBRARY) for _, kind in named) or named == [*MODULES_WITH_CODE]:
        return []
    return [f"{kind} of {path.name}" for place, kind in named if (place, kind) not in MODULES_WITH_CODE] or [path.name]


def _mapped_classes(folder: Path) -> list[str]:
    """Return the files whose ``auto_map`` makes transformers run code."""
    return [
        f"auto_map of {path.relative_to(folder)}"
        for path in folder.rglob("*.json")
        if path.name != "tokenizer.json" and isinstance(found := _read_json(path), dict) and found.get("auto_map")
    ]


def _read_json(path: Path) -> list[dict[str, object]] | dict[str, object]:
    try:
        found: list[dict[str, object]] | dict[str, object] = load_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", hint="export the model again") from error
    return found
