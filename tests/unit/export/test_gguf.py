"""Target ``gguf``: what it refuses, how llama.cpp's programs are called, and what the file says afterwards.

Converter and server are stand-ins: neither is part of a package that the tests could install.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, PoolingType

from poolwise.errors import ConfigError, ModelError
from poolwise.export import gguf as target
from poolwise.export import run_gguf
from poolwise.export.gguf_keys import set_keys
from tiny_gguf import Q8_0, plain_model, write_gguf
from tiny_models import save_tiny_base
from toy_exports import moved_model

_CONVERTER = """
import json, pathlib, shutil, sys
source, _, out, *rest = sys.argv[1:]
files = sorted(path.name for path in pathlib.Path(source).iterdir())
config = json.loads((pathlib.Path(source) / "config.json").read_text())
pathlib.Path({record!r}).write_text(json.dumps({{"rest": rest, "files": files, "is_causal": config["is_causal"]}}))
shutil.copyfile({file!r}, out)
"""
_SERVER = """#!{python}
import http.server, json, sys
options = dict(zip(sys.argv[1:], sys.argv[2:]))
assert options["-m"].endswith("model.gguf") and "--embeddings" in sys.argv

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            assert body["add_special"]
            words, acts = body["content"].split(), body["parse_special"]
            self.answer({{"tokens": [1, *[2 if word == "<eos>" and acts else 10 + len(word) for word in words], 2]}})
        else:
            ids = body["input"]
            assert len(ids) <= int(options["-ub"])
            self.answer({{"data": [{{"embedding": [len(ids), ids[-1], sum(ids)]}}]}})

    def answer(self, found):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_):
        pass

http.server.HTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


def read_key(path: Path, key: str) -> object:
    """Return the value of a key; None where the file does not have it."""
    field = GGUFReader(path).get_field(key)
    return None if field is None else field.contents()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture
def file(tmp_path) -> Path:
    values = {"llama.pooling_type": 0, "general.name": "as it was"}
    return write_gguf(tmp_path / "file.gguf", plain_model(tmp_path / "plain"), kind=Q8_0, values=values)


@pytest.fixture
def programs(tmp_path, file, monkeypatch) -> Path:
    """Set up a converter that copies ``file``, and return the path of its record."""
    record, converter, server = (tmp_path / name for name in ("record.json", "convert_hf_to_gguf.py", "llama-server"))
    converter.write_text(_CONVERTER.format(record=str(record), file=str(file)))
    server.write_text(_SERVER.format(python=sys.executable))
    server.chmod(0o755)
    monkeypatch.setenv(target.CONVERTER, str(converter))
    monkeypatch.setenv(target.SERVER, str(server))
    return record


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ("multilayer+bidirectional", "pools the states of several layers"),
        ("latent+causal", "has a trained head"),
        ("mean(skip=bos)+causal", "leaves BOS out of the pooling"),
        ("mean(echo=true)+causal", "reads every text twice"),
        ("landmark+causal", "reads landmarks inside of a text"),
        ("mean(dim=8)+causal", "ends in a projection"),
        ("mean+bidirectional(top=1)", "not the same for all layers"),
        ("weighted_mean+causal", "llama.cpp has no pooling weighted_mean"),
    ],
)
def test_what_llama_cpp_cannot_express_is_refused(base, design, reason) -> None:
    found = target.refusal(moved_model(design, base))
    assert found is not None and reason in found and "sentence-transformers" in found


def test_a_prefix_that_is_not_bos_is_refused(base) -> None:
    model = moved_model("mean+causal", base)
    assert target.refusal(model) is None
    model[0].tokens.prefix = [1, 5]
    assert "start with the ids [1, 5]" in str(target.refusal(model))


def test_a_shortened_model_is_refused(base) -> None:
    model = moved_model("mean+causal", base)
    model.truncate_dim = 8
    assert "truncate_dim" in str(target.refusal(model))


@pytest.mark.parametrize(
    ("design", "pooling", "is_causal"),
    [("last+causal", PoolingType.LAST, True), ("mean+bidirectional", PoolingType.MEAN, False)],
)
def test_the_converter_is_called_and_the_file_says_the_design(
    base, tmp_path, programs, design, pooling, is_causal
) -> None:
    (out := tmp_path / "out").mkdir()
    target.write(moved_model(design, base), out, options={})
    record = json.loads(programs.read_text())
    assert record["rest"] == ["--outtype", "f32"] and record["is_causal"] is is_causal
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(record["files"])
    keys = ("llama.pooling_type", "llama.attention.causal", "tokenizer.ggml.add_bos_token")
    assert [read_key(out / "model.gguf", key) for key in keys] == [pooling, is_causal, True]
    assert [read_key(out / "model.gguf", f"tokenizer.ggml.{key}") for key in ("add_eos_token", "eos_token_id")] == [
        True,
        2,
    ]
    settings = json.loads((out / "poolwise_export.json").read_text())
    assert settings["max_tokens"] == 24 and "query" in settings["prompts"]
    assert sorted(path.name for path in out.iterdir()) == ["model.gguf", "poolwise_export.json"]


def test_an_option_names_the_converter(base, tmp_path, programs, monkeypatch) -> None:
    other = tmp_path / "other.py"
    other.write_text("raise SystemExit('Model LlamaModel is not supported')")
    with pytest.raises(ModelError, match=r"converter failed: Model LlamaModel is not supported; wanted .*"):
        target.write(moved_model("mean+causal", base), tmp_path, options={"converter": str(other)})


@pytest.mark.parametrize(
    ("variable", "message"),
    [(target.CONVERTER, r"convert_hf_to_gguf\.py, is not on PATH"), (target.SERVER, "llama-server is not on PATH")],
)
def test_missing_programs_are_named_before_anything_is_written(
    base, tmp_path, programs, monkeypatch, variable, message
) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (out := tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=rf"{message}.*{variable}.*git clone"):
        target.write(moved_model("mean+causal", base), out, options={})
    assert not list(out.iterdir())


@pytest.mark.parametrize("variable", [target.CONVERTER, target.SERVER])
def test_a_named_program_that_does_not_exist(base, tmp_path, programs, monkeypatch, variable) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"no .*gone"):
        target.write(moved_model("mean+causal", base), tmp_path, options={})


def test_keys_are_set_and_all_else_stays(file) -> None:
    before = GGUFReader(file)
    kept = {name: field.contents() for name, field in before.fields.items() if not name.startswith("GGUF.")}
    tensors = {tensor.name: (tensor.tensor_type, bytes(tensor.data)) for tensor in before.tensors}
    set_keys(file, {"{arch}.pooling_type": 3, "{arch}.attention.causal": False, "tokenizer.ggml.add_bos_token": True})
    after = GGUFReader(file)
    found = {name: field.contents() for name, field in after.fields.items() if not name.startswith("GGUF.")}
    changed = {"llama.pooling_type": 3, "llama.attention.causal": False, "tokenizer.ggml.add_bos_token": True}
    assert found == kept | changed and kept["general.name"] == "as it was"
    assert {tensor.name: (tensor.tensor_type, bytes(tensor.data)) for tensor in after.tensors} == tensors
    assert read_key(file, "no.such.key") is None
    assert [path.name for path in file.parent.glob("file*")] == ["file.gguf"]


def run(tmp_path: Path, texts: list[str], prompt_name: str | None = None, *, splits: bool = False) -> np.ndarray:
    settings = {"prompts": {"query": "find this "}, "max_tokens": 6, "num_prefix": 1, "eos_id": 2}
    settings["split_special_tokens"] = splits
    (tmp_path / "poolwise_export.json").write_text(json.dumps(settings))
    (tmp_path / "texts.json").write_text(json.dumps([{"text": text, "prompt_name": prompt_name} for text in texts]))
    run_gguf.main(tmp_path, tmp_path / "texts.json", tmp_path / "out.npy")
    return np.load(tmp_path / "out.npy")


def test_the_runner_truncates_and_keeps_eos(tmp_path, programs) -> None:
    # BOS 1, EOS 2, and 10 plus the length of each word.
    found = run(tmp_path, ["a bb", "", "a a a a a a a a", "a <eos> <eos>"])
    assert found.tolist() == [[4, 2, 26], [2, 2, 3], [6, 2, 47], [3, 2, 14]]


def test_the_runner_reads_a_spelled_special_token_as_the_model_does(tmp_path, programs) -> None:
    assert run(tmp_path, ["a <eos>"], splits=True).tolist() == [[4, 2, 1 + 11 + 15 + 2]]


def test_the_runner_puts_the_prompt_before_the_text(tmp_path, programs) -> None:
    assert run(tmp_path, ["a"], "query").tolist() == [[5, 2, 1 + 14 + 14 + 11 + 2]]


def test_a_server_that_cannot_load_the_file_ends_the_runner(tmp_path, programs, monkeypatch) -> None:
    (tmp_path / "broken").write_text(f"#!{sys.executable}\nraise SystemExit(3)")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv(target.SERVER, str(tmp_path / "broken"))
    with pytest.raises(SystemExit, match="exit code 3: it cannot load the model"):
        run(tmp_path, ["a"])
