"""The model card: what it says, what it admits not to know, and that any name comes out as it is."""

from __future__ import annotations

import re

import pytest
import yaml

from poolwise.cards import (
    BaseFacts,
    BaselineScore,
    CardFacts,
    CategoryScore,
    ModelFacts,
    StudyFacts,
    TaskScoreFacts,
    TrainingFacts,
    card_files,
    card_text,
    edited_card,
    licence_in,
    load_facts,
    write_card,
)
from poolwise.cards.licences import front_matter
from poolwise.errors import ModelError

BASE = BaseFacts(
    name="org/base@abc", hub="org/base", fingerprint="f" * 16, num_layers=12, hidden_size=256, num_parameters=11_000_000
)
MODEL = ModelFacts(
    design="multilayer+bidirectional",
    method="lora",
    base=BASE,
    width=256,
    max_tokens=128,
    eos="</s>",
    eos_id=2,
    prompts={"query": "Q: "},
    attention_found="bidirectional",
    probe={"unpadded": True, "padded_left": True, "padded_right": True},
    num_trained=123_456,
)
TRAINING = TrainingFacts(
    sources={"pairs.jsonl": 1000, "poolwise/pydoc": 200},
    licences={"poolwise/pydoc": "PSF-2.0"},
    seed=1,
    settings={"steps": 80, "learning_rate": 1e-4},
    seconds=93.3,
    machine="AMD EPYC, 2 cores",
)
STUDY = StudyFacts(
    name="mine",
    recipe_hash="cafe",
    num_seeds=3,
    seed=1,
    interval="In brackets the 95% interval.",
    categories=[
        CategoryScore(
            category="sts",
            metric="cosine_spearman",
            num_tasks=2,
            num_items=500,
            own=0.5,
            mean=0.51,
            baselines=[
                BaselineScore(name="untuned", mean=0.4, difference=0.11, interval=(0.05, 0.17), verdict="better"),
                BaselineScore(name="bm25", mean=0.3),
            ],
        ),
        CategoryScore(category="retrieval", metric="ndcg_at_10", num_tasks=1, num_items=50, mean=0.2),
    ],
    tasks=[TaskScoreFacts(task="sts/a|b", category="sts", metric="cosine_spearman", num_items=500, score=0.5)],
    warnings=["In retrieval, bm25 scores higher than this design: do not use it there."],
)
FULL = CardFacts(
    name="alice/mine", model=MODEL, training=TRAINING, study=STUDY, texts_per_second=200.0, machine="AMD EPYC"
)
BARE = CardFacts(name="mine", model=MODEL.model_copy(update={"base": BASE.model_copy(update={"hub": ""})}))


def test_it_says_what_a_user_needs() -> None:
    text = card_text(FULL)
    for part in (
        'model = poolwise.load_model("alice/mine")',
        "- **Design:** `multilayer+bidirectional` (paper:5 of arXiv:2409.02727)",
        "the probe found bidirectional",
        "- **EOS:** `</s>` (id 2)",
        "`query` = `Q: `",
        "128 tokens",
        "embeddings have length 1",
        "| pairs.jsonl | 1,000 | not known |",
        "| poolwise/pydoc | 200 | PSF-2.0 |",
        "learning_rate `0.0001`, steps `80`",
        "| sts (cosine_spearman; 2 tasks, 500 items) | 0.5000 | 0.5100 | +0.1100 [+0.0500, +0.1700], better "
        "| not tested (0.3000) |",
        "do not use it there.**",
        "5 s for 1,000 texts of its tasks on AMD EPYC",
        "93 s on AMD EPYC, 2 cores",
        "256 numbers, 1,024 bytes in fp32",
        "- **Base:** not known",
        r"sts/a\|b",
    ):
        assert part in text, part


def test_what_the_base_reads_beside_a_text_is_said() -> None:
    for design, said in (
        (
            "landmark(every=8)+causal",
            "EOS after every N tokens of the text, and after the last, with N = 8, counted after",
        ),
        ("mean(echo=true)+causal", "the base reads every text twice"),
    ):
        model = MODEL.model_copy(update={"design": design})
        assert said in card_text(FULL.model_copy(update={"model": model})), design


def test_what_is_not_known_is_said() -> None:
    text = card_text(BARE)
    for part in ("Not known: this model was not evaluated", "Data and settings: not known", "not measured"):
        assert part in text
    assert "give its folder or file" in text


def test_the_front_matter_is_what_the_hub_reads() -> None:
    head = front_matter(card_text(FULL))
    assert head["library_name"] == "poolwise" and head["pipeline_tag"] == "sentence-similarity"
    assert (head["base_model"], head["base_model_relation"]) == ("org/base", "adapter") and "license" not in head
    assert "base_model" not in front_matter(card_text(BARE))


@pytest.mark.parametrize(
    ("licence", "wanted"), [("Apache-2.0", ("apache-2.0", None)), ("Odd One", ("other", "odd-one"))]
)
def test_a_licence_is_written_as_the_hub_names_it(licence: str, wanted: tuple[str, str | None]) -> None:
    base = BASE.model_copy(update={"licence": licence})
    head = front_matter(card_text(FULL.model_copy(update={"model": MODEL.model_copy(update={"base": base})})))
    assert (head["license"], head.get("license_name")) == wanted


def test_no_name_breaks_the_card() -> None:
    nasty = "a`b|c*d_[e](f)<script>\n## g\n---"
    prompts = {"query": nasty, "document": "``"}
    model = MODEL.model_copy(
        update={"prompts": prompts, "eos": "<|e`os|>", "base": BASE.model_copy(update={"name": nasty})}
    )
    study = STUDY.model_copy(update={"name": nasty, "warnings": [nasty]})
    training = TRAINING.model_copy(update={"sources": {nasty: 1}, "notes": [nasty]})
    text = card_text(FULL.model_copy(update={"model": model, "study": study, "training": training, "name": nasty}))
    shown = re.sub(r"^```.*?^```$", "", text.partition("\n---\n")[2], flags=re.DOTALL | re.MULTILINE)
    shown = re.sub(r"(?<![`\\])(`+)(?!`).*?[^`]\1(?!`)", "", shown)
    assert "<script>" not in shown and "a\\`b" in shown
    assert not re.search(r"^## g", text, re.MULTILINE)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    tables = [line for line in text.splitlines() if line.startswith("| ") and "1 |" in line]
    assert tables


def test_facts_survive_the_file(tmp_path) -> None:
    write_card(tmp_path, FULL)
    found = load_facts(tmp_path / "card.yaml")
    assert found is not None and found.model_copy(update={"readme": ""}) == FULL
    assert edited_card(tmp_path) is None and load_facts(tmp_path / "none.yaml") is None


def test_an_edited_readme_is_kept_and_an_edited_fact_is_not_an_edited_readme(tmp_path) -> None:
    write_card(tmp_path, FULL)
    card, facts = tmp_path / "README.md", tmp_path / "card.yaml"
    facts.write_text(facts.read_text().replace("num_seeds: 3", "num_seeds: 4"))
    changed = load_facts(facts)
    assert changed is not None and edited_card(tmp_path) is None
    write_card(tmp_path, changed)
    assert "4 seeds" in card.read_text()
    card.write_text("mine")
    write_card(tmp_path, FULL)
    write_card(tmp_path, FULL)
    assert card.read_text() == edited_card(tmp_path) == "mine"
    assert load_facts(facts).study.num_seeds == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["[1]", "name: x", "a: [", "name: x\nmodel: {}\n"])
def test_damaged_facts_are_one_error(text: str, tmp_path) -> None:
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(Exception, match="card") as caught:
        load_facts(tmp_path / "card.yaml")
    assert isinstance(caught.value, ModelError)


def test_the_licence_in_a_card(tmp_path) -> None:
    path = tmp_path / "README.md"
    assert licence_in(path) == ""
    for text, wanted in (
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: mine\n---\n", "mine"),
        ("---\nlicense: [a]\n---\n", ""),
        ("---\n: :\n---\n", ""),
        ("# no front matter\n---\nlicense: mit\n---\n", ""),
        ("---\nlicense: mit\n", ""),
    ):
        path.write_text(text)
        assert licence_in(path) == wanted, text


MERGED = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "body",
    [MERGED, "license: !!bool x\n", "a: " + "[" * 5000 + "]" * 5000, "a: 2020-99-99\n", "a: [" + "x," * 200_000 + "]"],
    ids=["merge keys", "a tag", "brackets", "a date", "many values"],
)
def test_front_matter_that_cannot_be_read_names_no_licence(tmp_path, body: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"---\nlicense: mit\n{body}\n---\n")
    assert licence_in(path) == ""


def test_of_a_card_without_an_end_the_start_is_read(tmp_path) -> None:
    (tmp_path / "README.md").symlink_to("/dev/zero")
    assert licence_in(tmp_path / "README.md") == ""
    (tmp_path / "long.md").write_text("---\nlicense: mit\n---\n" + "x" * 2**20)
    assert licence_in(tmp_path / "long.md") == "mit"


def test_the_yaml_has_no_python_in_it() -> None:
    assert "!!python" not in card_files(FULL)["card.yaml"]
    yaml.safe_load(card_files(FULL)["card.yaml"])
