"""Tasks and training pairs of entries made up for the purpose."""

from __future__ import annotations

import pytest

from poolwise.embedded.pydoc_labelled import balanced, effect_of, kind_of_object, without_kind_words
from poolwise.embedded.pydoc_read import Entry, Kind
from poolwise.embedded.pydoc_retrieval import question_about, question_to_class, summary_to_body
from poolwise.embedded.pydoc_rows import distinct, spoken_name
from poolwise.embedded.pydoc_train import build_pairs, is_evaluation, split_entries

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def entry(name: str, summary: str, body: str = "", kind: Kind = "function", module: str = "wire") -> Entry:
    return Entry(module.split(".")[0], module, name, kind, "self_made, n: int = 3, *rest", summary, body)


def body(i: int) -> str:
    return " ".join(
        f"{NUMBERS[i]}{ending}" for ending in ["alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "iota"]
    )


def test_spoken_name_leaves_annotations_and_defaults_out() -> None:
    assert spoken_name(entry("Wire.send_all", "Send.")) == "wire send all, given self made n rest"
    assert spoken_name(entry("HTTPWire", "A wire.", kind="class")) == "HTTP wire"


@pytest.mark.parametrize(
    ("summary", "question"),
    [
        ("Returns the name of the wire.", "Which class lets me return the name of the wire?"),
        ("Close this object for good now.", "Which class lets me close it for good now?"),
        ("Close it.", None),
        ("The name of the wire.", None),
    ],
)
def test_question_about(summary: str, question: str | None) -> None:
    assert question_about(summary) == question


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Return True if the wire is cut.", ("the wire is cut.", "test")),
        ("Return whether it is cut", ("it is cut", "test")),
        ("Returns the wire.", ("the wire.", "give")),
        ("Adds a wire", ("a wire", "change")),
        ("Wire of copper", None),
    ],
)
def test_effect_hides_the_verb(summary: str, expected: tuple[str, str] | None) -> None:
    assert effect_of(summary) == expected


def test_balanced_caps_labels_and_families_and_drops_small_labels() -> None:
    rows = [(entry(f"a{i}", "s"), f"a{i}", "many") for i in range(9)]
    rows += [(entry(f"b{i}", "s", module="other"), f"b{i}", "many") for i in range(9)]
    rows += [(entry("c", "s"), "c", "few")]
    kept = balanced(rows, per_label=6, smallest=2, most_of_family=2)
    assert [label for *_, label in kept] == ["many"] * 4
    assert sorted(row[0].family for row in kept) == ["other", "other", "wire", "wire"]
    assert len(balanced(rows, per_label=3, smallest=2, most_of_family=9)) == 3


def test_distinct_drops_near_duplicates() -> None:
    entries = [entry("a", "Close the wire between two machines"), entry("b", "close the wire between two machines!")]
    assert len(distinct(entries, lambda item: item.summary)) == 1


def test_summary_to_body_hides_name_and_summary() -> None:
    entries = [entry(f"secret{i}", f"Send the {NUMBERS[i]} over wires {i}", body(i)) for i in range(4)]
    task = summary_to_body(entries)
    assert len(task.files["corpus"]) == len(task.files["queries"]) == len(task.files["qrels"]) == 4
    assert all("secret" not in row["text"] and "Send" not in row["text"] for row in task.files["corpus"])
    texts = {row["_id"]: row["text"] for row in task.files["corpus"]}
    asked = {row["_id"]: row["text"] for row in task.files["queries"]}
    for judged in task.files["qrels"]:
        number = asked[judged["query-id"]].split()[2]
        assert f"{number}alpha" in texts[judged["corpus-id"]]


def test_question_finds_the_class_of_the_method() -> None:
    entries = [
        entry("Wire", "A wire between two machines in a room.", kind="class"),
        entry("Pipe", "Some tube that carries nothing but cold water.", kind="class"),
        entry("Wire.send", "Send all of the bytes over."),
        entry("free", "Return a thing that belongs nowhere."),
    ]
    task = question_to_class(entries)
    assert [row["text"] for row in task.files["queries"]] == ["Which class lets me send all of the bytes over?"]
    found = {row["_id"]: row["text"] for row in task.files["corpus"]}[task.files["qrels"][0]["corpus-id"]]
    assert found.startswith("wire: A wire")


def test_kind_texts_do_not_name_the_kind() -> None:
    summary = "Exception raised by a method of this Class; returns objects to the caller."
    assert without_kind_words(summary) == "by a of this ; to the caller."
    entries = [entry(f"C{i}", f"Class number {i} holds {body(i)}", module=f"m{i}") for i in range(10)]
    entries += [entry(f"D{i}", f"{body(i % 10)} {i} {body(i // 10)}", module=f"n{i}") for i in range(10, 99)]
    texts = [row["text"] for rows in kind_of_object(entries).files.values() for row in rows]
    assert len(texts) >= 60 and any(text.startswith("number") for text in texts)
    assert not any("Class" in text for text in texts)


def test_split_is_by_family() -> None:
    train, evaluation = split_entries([entry("a", "s", module="asyncio.locks"), entry("b", "s", module="asyncio")])
    assert not (train and evaluation)
    assert not is_evaluation("asyncio") and is_evaluation("inspect")


def test_training_pairs_take_negatives_from_the_same_module() -> None:
    entries = [entry(f"f{i}", f"Send the {NUMBERS[i]} over wires {i}", body(i)) for i in range(3)]
    entries.append(entry("lonely", "Something else entirely is here", module="far"))
    rows = build_pairs(entries, held_out=[])
    by_query = {row["query"]: row for row in rows}
    assert len(rows) == 7
    assert "negative" not in by_query["far lonely, given self made n rest"]
    for i in range(3):
        row = by_query[f"Send the {NUMBERS[i]} over wires {i}"]
        assert f"{NUMBERS[i]}alpha" in row["positive"]
        assert "alpha" in row["negative"] and row["negative"] != row["positive"]


def test_training_entries_near_evaluation_texts_are_dropped() -> None:
    entries = [entry("a", "Send the bytes over wires today"), entry("b", "Cut the rope into many equal pieces")]
    rows = build_pairs(entries, held_out=["SEND the bytes, over wires today."])
    assert [row["positive"] for row in rows] == ["Cut the rope into many equal pieces"]
