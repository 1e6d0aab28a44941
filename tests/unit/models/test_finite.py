"""A single number that is not finite in any weight stops a base or a model, with the tensor named."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from poolwise.checks.examine import examine
from poolwise.errors import ModelError
from poolwise.models import build_model, load_model
from poolwise.models.bases import load_base, load_causal
from poolwise.models.finite import require_finite
from tiny_models import save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base") / "gpt2", "gpt2", with_head=True)


def spoil(file: Path, name: str, value: float) -> None:
    weights = load_file(file)
    weights[name].view(-1)[-1] = value
    save_file(weights, file, metadata={"format": "pt"})


NAMED = r"bad.*: 1 of [\d,]+ numbers in .*wte\.weight are NaN or infinite"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_number_in_a_base_is_named_by_all_that_load_it(base: str, tmp_path: Path, value: float) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(base, folder)
    # The last row of the embeddings: no text of a check has that token.
    spoil(folder / "model.safetensors", "transformer.wte.weight", value)
    for load in (
        lambda: load_base(str(folder)),
        lambda: load_causal(str(folder)),
        lambda: build_model("mean+causal", str(folder), max_tokens=16),
    ):
        with pytest.raises(ModelError, match=NAMED):
            load()
    first = examine(str(folder)).checks[0]
    assert (first.name, first.status) == ("usable as a base", "fail") and re.search(NAMED, first.found)


def test_adapters_and_heads_are_looked_at_too(base: str, tmp_path: Path) -> None:
    build_model("mlp+causal", base, max_tokens=16).save(str(tmp_path / "whole"))
    for file in ("adapter_model.safetensors", "model.safetensors"):
        folder = tmp_path / file
        shutil.copytree(tmp_path / "whole", folder)
        path = next(folder.rglob(file))
        name = sorted(load_file(path))[0]
        spoil(path, name, math.nan)
        (folder / "checksums.json").unlink()
        with pytest.raises(ModelError, match=r"NaN or infinite") as error:
            load_model(folder)
        (failed,) = (check for check in examine(str(folder)) if check.status == "fail")
        assert failed.name == "finite values" and "are NaN or infinite" in failed.found
        with pytest.raises(ModelError, match=r"NaN or infinite"):
            examine(str(folder), fix=tmp_path / "fixed")
        assert name.rpartition("model.model.")[2].rpartition(".")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_an_embedding_that_is_not_finite_is_an_error(base: str, as_tensor: bool) -> None:
    """Weights may be finite and too large all the same."""
    model = build_model("mean+causal", base, max_tokens=16, precision="fp32")
    assert math.isfinite(float(model.encode(["a b"])[0, 0]))
    with torch.no_grad():
        for weight in model[0].parameters():
            weight.fill_(3e38)
    with pytest.raises(ModelError, match=r"the embedding of text 0 is not finite \(2 of 2 are not\)"):
        model.encode(["a", "b"], convert_to_tensor=as_tensor)


def test_other_kinds_of_numbers_pass() -> None:
    weights = {"a": torch.tensor([3e38, -3e38, 0.0]), "b": torch.zeros(0), "c": torch.tensor([255], dtype=torch.uint8)}
    require_finite(
        [*weights.items(), ("d", torch.zeros(2, dtype=torch.bfloat16)), ("e", torch.empty(2, device="meta"))], "x"
    )
    with pytest.raises(ModelError, match="x: 1 of 2 numbers in f are"):
        require_finite([("f", torch.tensor([1.0, math.nan], dtype=torch.bfloat16))], "x")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("was_run"),)  # type: ignore[return-value]


def test_a_base_of_pickles_is_refused_as_an_error_of_the_user(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").unlink()
    (tmp_path / "bad" / "pytorch_model.bin").write_bytes(pickle.dumps({"transformer.wte.weight": Evil()}))
    with pytest.raises(ModelError, match="cannot read base"):
        load_base("./bad")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "half", "other"])
def test_a_damaged_file_of_a_base_is_an_error_of_the_user(base: str, tmp_path: Path, file: str, damage: str) -> None:
    shutil.copytree(base, tmp_path / "bad")
    path = tmp_path / "bad" / file
    raw = path.read_bytes()
    path.write_bytes({"empty": b"", "half": raw[: len(raw) // 2], "other": b'{"a": [1]}'}[damage])
    with pytest.raises(ModelError, match=r"bad|EOS is id"):
        load_base(str(tmp_path / "bad"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', "null"])
def test_a_damaged_configuration_of_a_pooling_is_an_error_of_the_user(base: str, tmp_path: Path, text: str) -> None:
    build_model("mlp+causal", base, max_tokens=16).save(str(tmp_path / "model"))
    path = next((tmp_path / "model").glob("1_*/config.json"))
    assert json.loads(path.read_text())
    path.write_text(text)
    with pytest.raises(ModelError, match="cannot read the pooling in"):
        load_model(tmp_path / "model")
