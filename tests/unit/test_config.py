"""Recipes: strict keys, overrides, all problems at once, and fingerprints."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from poolwise.config import Recipe, TrainConfig, build_recipe, load_recipe
from poolwise.errors import ConfigError
from poolwise.overrides import parse_override
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.yaml_text import parse_value
from support import ROOT


def tree(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "test",
        "base": "poolwise/nano",
        "designs": ["paper:1", "mean+causal"],
        "reference": "paper:1",
        "data": {"train": ["a.jsonl"]},
        "tasks": ["tasks"],
    }
    return base | changes


def test_names_are_made_canonical() -> None:
    recipe = build_recipe(tree())
    assert recipe.designs == ["last+causal", "mean+causal"]
    assert recipe.reference == "last+causal"
    assert recipe.data.train[0].category == "retrieval"


def test_dump_validates_back_to_an_equal_recipe() -> None:
    recipe = build_recipe(
        tree(prompts={"sts": {"query": "q: "}}, tune={"learning_rate": [1e-4, 1e-3], "steps": 2, "dev": ["d"]})
    )
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint


def test_fingerprint_sees_every_value_but_the_name() -> None:
    recipe = build_recipe(tree())
    assert build_recipe(tree(name="other")).fingerprint == recipe.fingerprint
    assert build_recipe(tree(train={"steps": 7})).fingerprint != recipe.fingerprint
    assert build_recipe(tree(family="category")).fingerprint != recipe.fingerprint
    # A key that came later changes no hash of an older recipe.
    assert build_recipe(tree(family="all")).fingerprint == recipe.fingerprint
    later = {"adapt", "family", "until_decided", "base_dtype", "split_special_tokens", "price"}
    older = recipe.model_dump(mode="json", exclude={"name", *later})
    assert fingerprint(older) == recipe.fingerprint
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_all_problems_are_reported_at_once() -> None:
    bad = tree(designs=["paper:1", "lst+causal"], train={"stps": 3, "steps": "x"}, seeds=[1, 1], typo=1)
    with pytest.raises(ConfigError) as caught:
        build_recipe(bad)
    message = str(caught.value)
    assert "did you mean 'last'?" in message
    assert "'train.stps'; did you mean 'steps'?" in message
    assert "train.steps" in message
    assert "seeds repeat" in message
    assert "'typo'" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "paper:2"}, "not among the designs"),
        ({"designs": ["paper:1", "last+causal"]}, "listed twice"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, -1]}, "seeds are negative"),
        ({"base": ""}, "base"),
        ({"train": {"learning_rate": float("inf")}}, "finite"),
        ({"tune": {"learning_rate": [1e-4, 0], "steps": 1, "dev": ["d"]}}, "must be above 0"),
        ({"tune": {"learning_rate": [1e-4, 1.0000001e-4], "steps": 1, "dev": ["d"]}}, "repeat"),
        ({"train": {"batch_size": 1}}, "batch_size"),
        ({"prompts": {"stss": {}}}, "sts"),
        ({"name": "a/b"}, "name"),
        ({"max_items": 0}, "max_items"),
        ({"data": {"train": [{"source": "x", "category": "nli"}]}}, "category"),
    ],
)
def test_bad_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_recipe(tree(**changes))


def test_overrides_reach_nested_keys_and_keep_types(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\nbase: b\ndesigns: [paper:1]\nreference: paper:1\ndata: {train: [x]}\ntasks: [t]\n")
    recipe = load_recipe(
        path, ["train.learning_rate=2e-5", "train.steps=3", "base=Qwen/Qwen3-0.6B", "tasks=mteb:SciFact"]
    )
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.steps == 3
    assert recipe.base == "Qwen/Qwen3-0.6B"
    assert recipe.tasks == ["mteb:SciFact"]


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("prompts.retrieval.query=Q: ", ["prompts", "retrieval", "query"], "Q: "),
        ("prompts.sts.document= [1, 2] # no = comment", ["prompts", "sts", "document"], " [1, 2] # no = comment"),
        ("adapt.mask_token=[MASK]", ["adapt", "mask_token"], "[MASK]"),
        ("adapt.mask_token=null", ["adapt", "mask_token"], None),
        ("base=null", ["base"], "null"),
        ("base=1e5", ["base"], "1e5"),
        ("name=2020-99-99", ["name"], "2020-99-99"),
        ("reference=paper:1", ["reference"], "paper:1"),
        ("train.learning_rate=2e-5", ["train", "learning_rate"], 2e-5),
        ("train.method=full", ["train", "method"], "full"),
        ("adapt=null", ["adapt"], None),
        ("adapt.data=null", ["adapt", "data"], None),
        ("adapt.data=a.jsonl", ["adapt", "data"], ["a.jsonl"]),
        ("tune.dev=suite@dev", ["tune", "dev"], ["suite@dev"]),
        ("seeds=3", ["seeds"], [3]),
        ("max_items=null", ["max_items"], None),
        ("unknown.key=a: b", ["unknown", "key"], {"a": "b"}),
    ],
)
def test_a_key_that_holds_a_text_takes_what_follows_as_it_stands(text: str, keys: list[str], value: object) -> None:
    assert parse_override(text, Recipe) == (keys, value)


def test_prompts_from_the_command_line_reach_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree(adapt={"mask_token": "x"}, tasks=["mteb:A"])))
    overrides = ["prompts.retrieval.query=Q: ", "prompts.retrieval.document= ", "adapt.mask_token=null", "base=./b: c"]
    recipe = load_recipe(tmp_path / "recipe.yaml", overrides)
    assert recipe.prompts["retrieval"].model_dump() == {"query": "Q: ", "document": " "}
    assert recipe.adapt is not None and recipe.adapt.mask_token is None
    assert recipe.base == "./b: c"
    with pytest.raises(ConfigError, match="retreival"):
        load_recipe(tmp_path / "recipe.yaml", ["prompts.retreival.query=Q: "])


def test_the_train_verb_reads_its_keys_as_before() -> None:
    assert parse_override("learning_rate=2e-5", TrainConfig) == (["learning_rate"], 2e-5)
    assert parse_override("train.method=full", TrainConfig) == (["train", "method"], "full")


@pytest.mark.parametrize(
    "text", ["seeds", "=3", "seeds=[1", "train={a", "max_items=\x01", "max_items=2020-99-99", "a=" + "[" * 5000]
)
def test_override_needs_a_value(text: str) -> None:
    assert parse_override("seeds=[1, 2]", Recipe) == (["seeds"], [1, 2])
    with pytest.raises(ConfigError, match="key=value"):
        parse_override(text, Recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- a\n", "wanted a mapping"),
        (b"a: [\n", "not YAML: line 2"),
        (b"name: a\nname: b\n", "twice, again in line 2"),
        (b"? [1, 2]\n: 3\n", "key .1, 2. in line 1 is not a name"),
        (b"base: 2020-99-99", "not YAML"),
        (b"[" * 5000, "not YAML"),
        (bytes(range(256)), "not UTF-8"),
        ("name: a".encode("utf-16"), "not UTF-8"),
        (b"", "name: missing"),
        (b"1: 2\n", "name: missing"),
    ],
)
def test_unreadable_recipes(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_missing_recipe() -> None:
    with pytest.raises(ConfigError, match="cannot read recipe"):
        load_recipe(Path("no-such.yaml"))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


BILLIONS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    "text", [f"a: &a [x]\n{BILLIONS}", "name: &a [*a]\n", "name: &a {b: *a}\n", "name: " + "[" * 5000 + "]" * 5000]
)
def test_aliases_of_aliases_and_endless_ones_are_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml is not YAML"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="is not a YAML value"):
        parse_value("{" + text.replace("\n", ", ") + "}")


def test_an_anchor_that_is_used_a_few_times_is_read(tmp_path: Path) -> None:
    text = yaml.safe_dump(tree(prompts={})) + "eval: &e {batch_size: 8}\n"
    (tmp_path / "a.yaml").write_text(text.replace("prompts: {}", "prompts: {sts: &p {query: 'Q: '}, retrieval: *p}"))
    recipe = load_recipe(tmp_path / "a.yaml")
    assert recipe.prompts["sts"] == recipe.prompts["retrieval"] and recipe.eval.batch_size == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [2**80]}, r"seeds\.0: a whole number of 81 bits is too large"),
        ({"seeds": [10**5000]}, r"seeds\.0: a whole number of \d+ bits is too large"),
        ({"train": {"steps": 10**12}}, r"train\.steps: .*less than or equal to 10000000"),
        ({"train": {"batch_size": 10**9}}, r"train\.batch_size: .*less than or equal"),
        ({"train": {"lora_rank": 10**9}}, r"train\.lora_rank: .*less than or equal"),
        ({"adapt": {"steps": 10**12}}, r"adapt\.steps: .*less than or equal"),
        (
            {"designs": [f"mean(dim={10**12})+causal"]},
            r"option dim=1000000000000 is too large; wanted at most 1,000,000",
        ),
        ({"designs": [f"mean(dim={'9' * 5000})+causal"]}, "is not a positive whole number"),
        ({"designs": [f"layer_mean(layers=last{'9' * 5000})+causal"]}, "option layers=last999"),
        ({"designs": [f"mean+bidirectional(top={'9' * 5000})"]}, "option top=999"),
        ({"prompts": {"sts": {"query": "Q \ud800: "}}}, r"prompts\.sts\.query: 'Q .ud800: ' has half a surrogate pair"),
        ({"base": "folder-\udcff"}, "base: .* has half a surrogate pair, or bytes that are not UTF-8"),
    ],
)
def test_numbers_and_texts_that_nothing_can_hold(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_recipe(tree(**changes))
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("text", ["!!timestamp x", "!!bool x", "!!int ''", "!!float ''", "!!map [a]", "!!set [a]"])
def test_a_value_that_does_not_fit_its_tag_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(f"name: {text}\n")
    with pytest.raises(ConfigError):
        load_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError):
        parse_override(f"train.steps={text}", Recipe)


def test_a_recipe_without_an_end_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"cannot read recipe .*zero\.yaml: it has more than 262,144 characters"):
        load_recipe(tmp_path / "zero.yaml")


def test_too_many_values_are_not_blamed_on_aliases(tmp_path: Path) -> None:
    (tmp_path / "flat.yaml").write_text("name: [" + "a," * 110_000 + "]")
    with pytest.raises(ConfigError, match=r"flat\.yaml is not YAML: it has more than 100,000 values"):
        load_recipe(tmp_path / "flat.yaml")
    with pytest.raises(ConfigError, match="is not a YAML value"):
        parse_value("[" + "a, " * 100_000 + "]")
