"""``/v1/search``: one index, the index of a user's arm, and both arms in one list with credit for clicks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from ab_folder import CLICKED, begun, design
from poolwise.cli.main import app
from poolwise.errors import ConfigError, ModelError
from poolwise.experiments import analyse, interleave, open_log
from poolwise.experiments.events import Exposure
from poolwise.experiments.log import EventLog, read_log
from poolwise.models import EmbeddingModel
from poolwise.serving import ServedExperiment, ServedModel, ServeSettings, create_app
from poolwise.serving.context import MOST_SEARCHES
from poolwise.serving.served_indexes import ServedIndex
from served_app import client_of

DOCUMENTS = ["a dog runs", "the old man plays a guitar", "stocks fell", "how do i sort a list", "one two"]
PREFERRED = {"name": "preferred", "kind": "preference", "event": "click", "margin": 0.1}
KEY = {"X-Poolwise-Key": "u1"}


@dataclass(frozen=True)
class Row:
    id: str
    score: float
    text: str


class Listed:
    """An index of ``DOCUMENTS``: the best first, or the worst first."""

    def __init__(self, vectors: np.ndarray, sign: int = 1, prefix: str = "d") -> None:
        self.vectors, self.sign, self.prefix = vectors, sign, prefix

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def ids_fingerprint(self) -> str:
        return f"{len(self)} {self.prefix}"

    def search(self, queries: np.ndarray, k: int) -> list[list[Row]]:
        scores = self.sign * queries @ self.vectors.T
        return [[Row(f"{self.prefix}{i}", float(row[i]), DOCUMENTS[i]) for i in np.argsort(-row)[:k]] for row in scores]


@pytest.fixture(scope="module")
def vectors(library: EmbeddingModel) -> np.ndarray:
    return library.encode_document(DOCUMENTS, normalize_embeddings=True)


@pytest.fixture(scope="module")
def models(folder: Path, served: ServedModel) -> Iterator[dict[str, ServedModel]]:
    other = ServedModel("B", str(folder), precision="fp32")
    yield {"A": served, "B": other}
    other.close()


@pytest.fixture
def indexes(models: dict[str, ServedModel], vectors: np.ndarray) -> dict[str, ServedIndex]:
    """Arm B ranks the other way round."""
    return {
        arm: ServedIndex(arm, Listed(vectors, sign), models[arm].info.fingerprint, vectors.shape[1])
        for arm, sign in (("A", 1), ("B", -1))
    }


def ranked(library: EmbeddingModel, vectors: np.ndarray, query: str) -> list[str]:
    scores = library.encode_query(query, normalize_embeddings=True) @ vectors.T
    return [f"d{i}" for i in np.argsort(-scores)]


def post(app: Any, *bodies: dict[str, Any], path: str = "/v1/search", headers: Any = None) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        async with client_of(app) as client:
            return [await client.post(path, json=body, headers=headers) for body in bodies]

    return asyncio.run(run())


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["data"]]


@pytest.fixture
def opened(tmp_path: Path, models: Any, indexes: Any) -> Iterator[Any]:
    """Return a function that opens an experiment with some metrics, and returns its app and its log."""
    logs = []

    def opened(*metrics: dict[str, Any], given: dict[str, ServedIndex] | None = None) -> tuple[Any, EventLog]:
        place = open_log(begun(tmp_path / "ab", design(metrics=list(metrics), min_users=25)))
        logs.append(place)
        log = place.__enter__()
        of_arms = indexes if given is None else given
        experiment = ServedExperiment(log, models, of_arms)
        return create_app(models, ServeSettings(), experiment=experiment, indexes=of_arms), log

    yield opened
    for place in logs:
        place.__exit__(None, None, None)


def test_a_search_is_that_of_the_index_with_the_query_prompt(
    models: Any, indexes: Any, library: EmbeddingModel, vectors: np.ndarray
) -> None:
    app = create_app(models, ServeSettings(), indexes=indexes)
    one, two = post(app, {"index": "A", "query": "a dog", "k": 3}, {"index": "B", "query": "a dog", "k": 50})
    wanted = ranked(library, vectors, "a dog")
    assert ids(one) == wanted[:3] and ids(two) == wanted[::-1]
    first = one.json()["data"][0]
    assert (first["rank"], first["text"]) == (1, DOCUMENTS[int(first["id"][1:])])
    assert first["score"] == pytest.approx(
        float(library.encode_query("a dog") @ vectors[int(first["id"][1:])]), abs=1e-5
    )
    assert "X-Poolwise-Exposure" not in one.headers


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"index": "C"}, 404, "index_not_found"),
        ({"query": "  "}, 400, "invalid_value"),
        ({"k": 0}, 400, "invalid_value"),
        ({"k": 51}, 400, "invalid_value"),
        ({"more": 1}, 400, "invalid_value"),
    ],
)
def test_what_is_wrong_is_said(models: Any, indexes: Any, body: dict[str, Any], status: int, code: str) -> None:
    (answer,) = post(create_app(models, ServeSettings(), indexes=indexes), {"index": "A", "query": "a dog"} | body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_too_many_searches_at_once_are_sent_away(models: Any, indexes: Any) -> None:
    app = create_app(models, ServeSettings(), indexes=indexes)
    app.state.serving.turns.num_waiting = MOST_SEARCHES
    (answer,) = post(app, {"index": "A", "query": "a dog"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


def test_a_user_searches_the_index_of_the_own_arm(opened: Any, library: EmbeddingModel, vectors: np.ndarray) -> None:
    app, log = opened(CLICKED)
    wanted = ranked(library, vectors, "a dog")
    arms = []
    for number in range(6):
        (answer,) = post(app, {"index": "toy", "query": "a dog", "user": f"u{number}"})
        arm = answer.headers["X-Poolwise-Arm"]
        assert arm == log.assign(f"u{number}").name
        assert ids(answer) == (wanted if arm == "A" else wanted[::-1])
        arms.append(arm)
    found = [logged.event for logged in read_log(log.folder).events]
    assert set(arms) == {"A", "B"} and [event.arm for event in found] == arms
    assert all(event.teams is None and event.latency > 0 for event in found)


def test_both_arms_are_interleaved_and_a_click_counts_for_the_arm_of_its_row(
    opened: Any, library: EmbeddingModel, vectors: np.ndarray
) -> None:
    app, log = opened(PREFERRED)
    wanted = ranked(library, vectors, "a dog")
    of_arms = {"A": wanted[:4], "B": wanted[::-1][:4]}
    first = Counter()
    for number in range(60):
        (answer,) = post(app, {"index": "toy", "query": "a dog", "k": 4, "user": f"u{number}"})
        exposure = answer.headers["X-Poolwise-Exposure"]
        picked = interleave(of_arms, 4, exposure)
        assert ids(answer) == [id for id, _ in picked]
        assert "X-Poolwise-Arm" not in answer.headers and {hit["score"] for hit in answer.json()["data"]} == {None}
        first[picked[0][1]] += 1
        # Every user clicks the document that B has first and A has last.
        click = {"id": f"f{number}", "exposure": exposure, "event": "click", "item": wanted[-1]}
        assert post(app, click, path="/v1/feedback")[0].json() == {"status": "counted"}
    assert min(first.values()) > 10
    shown = [one.event for one in read_log(log.folder).events if isinstance(one.event, Exposure)]
    assert (shown[-1].id, shown[-1].arm, shown[-1].teams) == (exposure, None, dict(picked))
    found = analyse(log.folder, now=2e10)
    (result,) = found.metrics
    assert result.now.difference == 1 and result.verdict == "superior"
    assert not [note for note in found.notes if "name no document" in note]


def test_a_click_in_a_list_names_its_row(opened: Any) -> None:
    app, log = opened(PREFERRED)
    (answer,) = post(app, {"index": "toy", "query": "a dog"}, headers=KEY)
    click = {"id": "f1", "exposure": answer.headers["X-Poolwise-Exposure"], "event": "click"}
    bare, stray = post(app, click, click | {"item": "elsewhere"}, path="/v1/feedback")
    assert bare.status_code == 400 and "wanted its item" in bare.json()["error"]["message"]
    assert stray.json() == {"status": "counted"}
    assert any("1 clicks in interleaved lists name no document" in note for note in analyse(log.folder).notes)


def test_an_arm_that_fails_shows_no_list_and_logs_none(
    opened: Any, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise ModelError("broken")

    app, log = opened(PREFERRED)
    monkeypatch.setattr(models["B"], "embed", fail)
    (answer,) = post(app, {"index": "toy", "query": "a dog"}, headers=KEY)
    assert answer.status_code == 500 and read_log(log.folder).events == []


def test_a_search_without_a_key_or_without_indexes_is_refused(opened: Any) -> None:
    app, log = opened(PREFERRED, given={})
    no_key, no_index = post(app, {"index": "toy", "query": "a"}, {"index": "toy", "query": "a", "user": "u"})
    assert no_key.json()["error"]["code"] == "key_missing"
    assert no_index.status_code == 404 and "--index A=DIR --index B=DIR" in no_index.json()["error"]["message"]
    assert read_log(log.folder).events == []


def test_indexes_are_those_of_the_arms(opened: Any, indexes: dict[str, ServedIndex], vectors: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="indexes of arms are A; wanted one for each arm"):
        opened(PREFERRED, given={"A": indexes["A"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0123456789abcdef"}, "--index B was encoded by model 0123456789abcdef, and arm B is"),
        ({"index": 4}, r"rows with different ids \(A 5, B 4\)"),
        ({"index": 5}, r"rows with different ids \(A 5, B 5\)"),
    ],
)
def test_an_index_of_another_model_or_corpus_is_refused(
    opened: Any, indexes: dict[str, ServedIndex], vectors: np.ndarray, changes: dict[str, Any], message: str
) -> None:
    if "index" in changes:
        changes = {"index": Listed(vectors[: changes["index"]], prefix="c")}
    with pytest.raises(ConfigError, match=message):
        opened(PREFERRED, given={"A": indexes["A"], "B": replace(indexes["B"], **changes)})


def test_an_index_has_another_name_than_the_experiment(tmp_path: Path) -> None:
    given = ["--experiment", str(begun(tmp_path / "ab")), "--arm", "A=x", "--arm", "B=y", "--index", "toy=z"]
    found = CliRunner().invoke(app, ["serve", *given]).exception
    assert isinstance(found, ConfigError) and "an index and the experiment are called toy" in str(found)
