"""Modules import downwards only, and the light ones never import torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT, load_script

rooms = load_script("_rooms")

LIGHT = [
    "poolwise",
    "poolwise.config",
    "poolwise.data",
    "poolwise.tasks",
    "poolwise.foreign",
    "poolwise.stats",
    "poolwise.report",
    "poolwise.search",
    "poolwise.experiments",
    "poolwise.cli.main",
    "poolwise.base_sources.find",
    "poolwise.base_sources.listing",
]


def test_every_room_has_a_level() -> None:
    parts = {path.name.removesuffix(".py") for path in rooms.PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} <= {room.partition(".")[0] for room in rooms.LEVELS}


def test_imports_point_downwards() -> None:
    wrong = [
        f"{arrow.path} ({arrow.here}) imports {arrow.to}"
        for arrow in rooms.iter_arrows()
        if arrow.here and rooms.LEVELS[arrow.to] >= rooms.LEVELS[arrow.here]
    ]
    assert not wrong


def test_an_arrow_up_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "poolwise").mkdir()
    (tmp_path / "poolwise" / "errors.py").write_text("def late():\n    from poolwise.models.build import build_model\n")
    monkeypatch.setattr(rooms, "PACKAGE", tmp_path / "poolwise")
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    assert [(arrow.here, arrow.to) for arrow in rooms.iter_arrows()] == [("errors", "models")]


@pytest.mark.parametrize("step", rooms.WAY, ids=lambda step: step.function)
def test_the_way_of_the_data_names_functions_that_exist(step: object) -> None:
    if not step.function:  # type: ignore[attr-defined]
        return
    owner, parts = "poolwise", step.function.split(".")  # type: ignore[attr-defined]
    module = next(n for n in range(len(parts), 0, -1) if (rooms.PACKAGE / f"{'/'.join(parts[:n])}.py").is_file())
    found = importlib.import_module(".".join([owner, *parts[:module]]))
    for name in parts[module:]:
        found = getattr(found, name)
    assert callable(found)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'mteb') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT))
    assert found.stdout.strip() == "[]"


def test_bad_data_is_refused_without_a_model_or_its_libraries(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("left,right\na,b\nc,d\n")
    (tmp_path / "sts" / "x").mkdir(parents=True)
    (tmp_path / "sts" / "x" / "test.csv").write_text("left,right\na,b\nc,d\n")
    code = f"""if True:
        import sys
        from poolwise.config import SourceConfig
        from poolwise.data import load_sources
        from poolwise.errors import DataError
        from poolwise.tasks import load_tasks
        for load in (
            lambda: load_sources([SourceConfig(source={str(tmp_path / "train.csv")!r})], None, 0),
            lambda: load_tasks([{str(tmp_path / "sts")!r}]),
        ):
            try:
                load()
            except DataError as error:
                print("refused")
        print([name for name in ("torch", "transformers", "mteb", "datasets", "pyarrow") if name in sys.modules])
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT))
    assert found.stdout.split("\n") == ["refused", "refused", "[]", ""]
