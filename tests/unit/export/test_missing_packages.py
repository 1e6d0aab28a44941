"""A target whose packages are not installed names the extra to install, before a model is loaded."""

from __future__ import annotations

import importlib
import sys

import pytest

from poolwise import export
from poolwise.errors import ConfigError
from poolwise.export.targets import TARGETS, load_target


@pytest.mark.parametrize(
    ("target", "package", "modules"),
    [
        ("onnx", "onnx", ["onnx"]),
        ("onnx", "onnxscript", ["onnx"]),
        ("onnx", "onnxruntime", ["onnx", "int8", "run_onnx"]),
        ("gguf", "gguf", ["gguf", "gguf_keys"]),
    ],
)
def test_the_extra_is_named(monkeypatch, target, package, modules) -> None:
    for name in modules:
        importlib.import_module(f"poolwise.export.{name}")
        monkeypatch.delitem(sys.modules, f"poolwise.export.{name}")
        monkeypatch.setattr(export, name, None)  # put back after the test, as the module that others imported
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}.*pip install 'poolwise\[{target}\]'"):
        load_target(target)


def test_all_targets_can_be_loaded_here() -> None:
    assert [load_target(name).OPTIONS for name in TARGETS] == [(), (), ("int8",), ("converter",)]
