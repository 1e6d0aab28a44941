"""Every text is read once, long ones first, and an embedding that is not finite stops the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poolwise.encoding.encoder import ModelEncoder, RandomEncoder
from poolwise.errors import EvalError
from poolwise.tasks import Task, evaluate_task, load_tasks
from unit.tasks.tiny import write_suite


class Lengths:
    """A model whose embedding is (characters of prompt, characters of text), and that records its inputs."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []

    def encode(self, texts: list[str], *, prompt: str, **_: object) -> np.ndarray:
        self.calls.append((prompt, texts))
        return np.array([[len(prompt), float("nan") if text == "bad" else len(text)] for text in texts])


def keys_of(tasks: list[Task]) -> list[tuple[str, str]]:
    return [key for task in tasks for key in task.texts()]


def test_a_text_is_read_once_for_each_prompt() -> None:
    model = Lengths()
    encoder = ModelEncoder(model)  # type: ignore[arg-type]
    assert encoder.texts_per_second is None
    first = encoder.encode(["a", "bbb", "a", "cc"], "")
    assert first.dtype == np.float32
    assert first.tolist() == [[0, 1], [0, 3], [0, 1], [0, 2]]
    assert model.calls == [("", ["bbb", "cc", "a"])]
    assert encoder.encode(["cc", "dddd"], "").tolist() == [[0, 2], [0, 4]]
    assert encoder.encode(["cc"], "q: ").tolist() == [[3, 2]]
    assert model.calls[1:] == [("", ["dddd"]), ("q: ", ["cc"])]
    assert encoder.num_encoded == 5
    assert encoder.texts_per_second is not None and encoder.texts_per_second > 0


def test_preparing_a_suite_leaves_nothing_to_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.encoding.encoder.PROGRESS_TEXTS", 64)
    tasks = load_tasks([str(write_suite(tmp_path))])
    progress: list[tuple[int, int]] = []
    encoder = ModelEncoder(Lengths(), batch_size=2, on_progress=lambda *at: progress.append(at))  # type: ignore[arg-type]
    encoder.prepare(keys_of(tasks))
    texts = {key for task in tasks for key in task.texts()}
    assert encoder.num_encoded == len(texts)
    assert progress[-1] == (len(texts), len(texts))
    assert progress == sorted(progress) and len(progress) == -(-len(texts) // 64)
    for task in tasks:
        if task.category != "sts":  # two vectors cannot tell these pairs apart
            evaluate_task(task, encoder)
    assert encoder.num_encoded == len(texts)


def test_the_order_of_tasks_changes_no_batch(tmp_path: Path) -> None:
    tasks = load_tasks([str(write_suite(tmp_path))])
    forward, backward = Lengths(), Lengths()
    ModelEncoder(forward).prepare(keys_of(tasks))  # type: ignore[arg-type]
    ModelEncoder(backward).prepare(keys_of(tasks[::-1]))  # type: ignore[arg-type]
    assert forward.calls == backward.calls


def test_an_embedding_that_is_not_finite_names_its_text() -> None:
    with pytest.raises(EvalError, match="1 texts have embeddings that are not finite, such as 'bad'"):
        ModelEncoder(Lengths()).encode(["good", "bad"], "")  # type: ignore[arg-type]


def test_random_vectors_depend_on_text_and_seed_only() -> None:
    one, again, other = RandomEncoder(64, 0), RandomEncoder(64, 0), RandomEncoder(64, 1)
    texts = ["a", "b", "a"]
    vectors = one.encode(texts, "")
    assert np.array_equal(vectors, again.encode(texts, "prompt"))
    assert np.array_equal(vectors[0], vectors[2]) and not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors, other.encode(texts, ""))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
