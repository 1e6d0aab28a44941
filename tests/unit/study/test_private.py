"""What a study, a corpus, an index and an export write says nothing of who made them: no secrets, no home folder."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import poolwise
import toys
from poolwise.config import load_recipe
from poolwise.errors import DataError
from poolwise.study import perform
from poolwise.study.study import run_study
from tiny_models import save_tiny_base

SECRETS = {
    "HF_TOKEN": "hf_SECRETOFTHEHUB",
    "POOLWISE_API_KEYS": "SECRETOFTHESERVER",
    "WANDB_API_KEY": "SECRETOFATRACKER",
    "AWS_SECRET_ACCESS_KEY": "SECRETOFASTORE",
    "SOME_VARIABLE": "VALUEOFAVARIABLE",
}
HOME = "homeofann"
PLACES = {"poolwise.json"}
"""A saved model notes where its base was on this machine; ``poolwise push`` and a hub id as the name leave that out."""


def found_in(folder: Path) -> dict[str, set[str]]:
    """Return the words that a folder's files must not have, by file name."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            words = {word for word in (*SECRETS.values(), HOME) if word.encode() in raw}
            if words:
                found.setdefault(path.name, set()).update(words)
    return found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below the home folder, with a recipe; the process works there and knows secrets."""
    work = tmp_path / HOME / "work"
    work.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(work.parent))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(work)
    save_tiny_base(work / "base", "gpt2")
    toys.write_training(work / "train.jsonl")
    toys.write_suite(work / "suite")
    tree = {
        "name": "toy",
        "base": "base",
        "designs": ["mean+causal"],
        "reference": "mean+causal",
        "seeds": [0],
        "data": {"train": ["train.jsonl"]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": 24, "precision": "fp32"},
        "eval": {"max_tokens": 24, "precision": "fp32"},
        "tasks": ["suite/sts"],
        "anchors": ["random"],
    }
    (work / "recipe.yaml").write_text(yaml.safe_dump(tree))
    return work


def test_records_name_neither_secrets_nor_the_home_folder(work: Path) -> None:
    run_study(load_recipe("recipe.yaml"), Path("out"), workers=1)
    model = next(Path("out/runs").glob("mean*/model"))
    Path("texts.jsonl").write_text('{"_id": "a", "text": "a dog"}\n{"_id": "b", "text": "a cat"}\n')
    poolwise.encode_corpus(str(model), "texts.jsonl", "corpus", keep_text=True)
    poolwise.build_index(work / "corpus", "index").close()
    named = {folder: found_in(Path(folder)) for folder in ("out", "corpus", "index")}
    assert named == {"out": {name: {HOME} for name in PLACES}, "corpus": {}, "index": {}}
    poolwise.load_model(model).save("shared", model_name="ann/model")
    assert found_in(Path("shared")) == {}


@pytest.mark.parametrize("kind", [DataError, RuntimeError])
def test_a_job_that_fails_names_no_home_folder(
    work: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    train_run = perform.train_run

    def train(design: Any, inputs: Any, config: Any, schedule: Any, seed: int, *others: Any) -> None:
        if seed == 1:
            raise kind(f"cannot read {work}/pairs.jsonl, nor {work.parent}: no room")
        train_run(design, inputs, config, schedule, seed, *others)

    monkeypatch.setattr(perform, "train_run", train)
    run_study(load_recipe("recipe.yaml", ["seeds=[0, 1]"]), work / "out", workers=1)
    assert found_in(Path("out")) == {name: {HOME} for name in PLACES}
    failures = json.loads(Path("out/results.json").read_text())["results"]["failures"]
    message = "cannot read ~/work/pairs.jsonl, nor ~: no room"
    assert any(message in text for text in failures.values())
    traces = [path.read_text() for path in Path("out/jobs").glob("*.traceback.txt")]
    assert len(traces) == (kind is RuntimeError) and all(message in text for text in traces)
