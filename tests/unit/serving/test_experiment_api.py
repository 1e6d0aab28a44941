"""An experiment on a server: sticky arms, exposures, feedback, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Request

from ab_folder import begun, design
from poolwise.cli.serve import arms_of
from poolwise.errors import ConfigError, ModelError
from poolwise.experiments import open_log
from poolwise.experiments.events import Exposure, Feedback
from poolwise.experiments.log import EventLog, read_log
from poolwise.models import EmbeddingModel
from poolwise.serving import ServedExperiment, ServedModel, ServeSettings, create_app
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_model import AbandonedError


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(begun(tmp_path / "ab")) as found:
        yield found


@pytest.fixture(scope="session")
def other(folder: Path) -> Iterator[ServedModel]:
    """The same model as a second arm: an A/A test."""
    model = ServedModel("B", str(folder), precision="fp32")
    yield model
    model.close()


Ask = Callable[..., list[httpx.Response]]


def asker(app: Any) -> Ask:
    """Return a function that sends requests, in order, to an app, and returns the answers."""

    def ask(*requests: tuple[str, dict[str, Any] | None, dict[str, str]]) -> list[httpx.Response]:
        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return [
                    await (client.get(path) if body is None else client.post(path, json=body, headers=headers))
                    for path, body, headers in requests
                ]

        return asyncio.run(run())

    return ask


@pytest.fixture
def ask(served: ServedModel, other: ServedModel, log: EventLog) -> Ask:
    models = {"A": served, "B": other}
    return asker(create_app(models, ServeSettings(), experiment=ServedExperiment(log, models)))


def embed(key: str | None = "u1", **fields: Any) -> tuple[str, dict[str, Any], dict[str, str]]:
    headers = {"X-Poolwise-Key": key} if key is not None else {}
    return "/v1/embeddings", {"model": "toy", "input": "one two"} | fields, headers


def test_a_user_stays_in_an_arm_and_is_logged_with_its_latency(
    ask: Any, log: EventLog, library: EmbeddingModel
) -> None:
    answers = ask(*(embed(f"u{number % 6}") for number in range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12
    arms = [answer.headers["X-Poolwise-Arm"] for answer in answers]
    assert arms[:6] == arms[6:] and set(arms) == {"A", "B"}
    assert arms[:6] == [log.assign(f"u{number}").name for number in range(6)]
    found = [logged.event for logged in read_log(log.folder).events]
    assert [event.id for event in found] == [answer.headers["X-Poolwise-Exposure"] for answer in answers]
    assert all(isinstance(event, Exposure) and 0 < event.latency < 60_000 for event in found)
    vector = np.array(answers[0].json()["data"][0]["embedding"], np.float32)
    np.testing.assert_allclose(vector, library.encode("one two"), atol=2e-6)
    assert b"u1" not in (log.folder / "events.jsonl").read_bytes()


def test_the_key_may_be_openais_user(ask: Any) -> None:
    one, two = ask(embed("alice"), embed(None, user="alice"))
    assert one.headers["X-Poolwise-Arm"] == two.headers["X-Poolwise-Arm"]


def test_a_model_by_its_name_is_not_part_of_the_experiment(ask: Any, log: EventLog) -> None:
    (answer,) = ask(embed("u1", model="A"))
    assert answer.status_code == 200 and "X-Poolwise-Arm" not in answer.headers
    assert read_log(log.folder).events == []


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (embed(None), "key_missing", "wanted the header X-Poolwise-Key or the field user"),
        (embed("x" * 513), "key_missing", "512 characters"),
        (embed("u", input_type="document"), "arms_differ", "one index for each"),
        (embed("u", input_type="search_document"), "arms_differ", "one index for each"),
        (embed("u", input=[]), "invalid_value", "input is empty"),
        (embed("u", dimensions=5), "invalid_value", "was not trained for"),
    ],
)
def test_a_request_that_is_wrong_is_no_exposure(
    ask: Any, log: EventLog, request_: tuple[str, Any, Any], code: str, words: str
) -> None:
    (answer,) = ask(request_)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code and words in answer.json()["error"]["message"]
    assert read_log(log.folder).events == []


def test_a_model_that_fails_is_an_exposure_with_an_error(
    ask: Any, log: EventLog, served: ServedModel, other: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise ModelError("broken")

    for model in (served, other):
        monkeypatch.setattr(model, "embed", fail)
    (answer,) = ask(embed())
    assert answer.status_code == 500
    assert [logged.event.error for logged in read_log(log.folder).events] == [True]


@pytest.mark.parametrize(("error", "is_error"), [(RuntimeError("CUDA error"), True), (AbandonedError(), False)])
def test_a_request_without_an_answer_is_an_exposure_too(
    log: EventLog, served: ServedModel, other: ServedModel, error: Exception, is_error: bool
) -> None:
    """Slow answers that nobody waited for, and failures of any kind, belong to the arm."""
    tried = ServedExperiment(log, {"A": served, "B": other})
    request = Request({"type": "http", "headers": [(b"x-poolwise-key", b"u1")]})

    async def run() -> None:
        async with tried.expose(request, None, None):
            await asyncio.sleep(0.01)
            raise error

    with pytest.raises(type(error)):
        asyncio.run(run())
    (event,) = [logged.event for logged in read_log(log.folder).events]
    assert event.error is is_error and event.latency >= 10


def test_a_key_is_the_same_in_a_header_and_in_a_field(log: EventLog, served: ServedModel, other: ServedModel) -> None:
    tried = ServedExperiment(log, {"A": served, "B": other})

    def key(header: bytes | None, user: str | None = None) -> str:
        headers = [] if header is None else [(b"x-poolwise-key", header)]
        return tried._key_of(Request({"type": "http", "headers": headers}), user)

    for name in ("josé", "ключ", "a b"):
        assert key(name.encode()) == key(None, name) == key(None, f" {name} ") == name
    assert key("josé".encode("latin-1")) == "josé"
    with pytest.raises(HttpProblem, match="needs the user's key"):
        key(None, "  ")


def test_a_covariate_comes_in_a_header(ask: Any, log: EventLog) -> None:
    path, body, headers = embed("u1")
    good, bad = ask(
        (path, body, headers | {"X-Poolwise-Covariate": "12.5"}), (path, body, headers | {"X-Poolwise-Covariate": "x"})
    )
    assert (good.status_code, bad.status_code) == (200, 400)
    assert bad.json()["error"]["code"] == "covariate_wrong"
    assert [logged.event.covariate for logged in read_log(log.folder).events] == [12.5]


def test_feedback_counts_once(ask: Any, log: EventLog) -> None:
    (shown,) = ask(embed())
    click = {"id": "f1", "exposure": shown.headers["X-Poolwise-Exposure"], "event": "click"}
    answers = ask(*[("/v1/feedback", click, {})] * 2)
    assert [answer.json() for answer in answers] == [{"status": "counted"}, {"status": "repeated"}]
    found = read_log(log.folder).events[-1].event
    assert found == Feedback("f1", click["exposure"], "click", 1.0)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"exposure": "nope"}, 404, "unknown_exposure"),
        ({"event": "like"}, 400, "invalid_value"),
        ({"value": "much"}, 400, "invalid_value"),
        ({"id": ""}, 400, "invalid_value"),
        ({"more": 1}, 400, "invalid_value"),
        ({"event": "rating", "value": 4}, 409, "id_conflict"),
    ],
)
def test_feedback_that_is_wrong_is_refused(ask: Any, changes: dict[str, Any], status: int, code: str) -> None:
    (shown,) = ask(embed())
    click = {"id": "f1", "exposure": shown.headers["X-Poolwise-Exposure"], "event": "click"}
    _, answer = ask(("/v1/feedback", click, {}), ("/v1/feedback", click | changes, {}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_state_is_that_of_the_command(ask: Any, log: EventLog) -> None:
    _, answer = ask(embed(), ("/v1/experiment", None, {}))
    assert answer.status_code == 200
    assert answer.json()["fingerprint"] == log.design.fingerprint
    assert sum(arm["exposures"] for arm in answer.json()["arms"]) == 1
    _, again, page = ask(embed(), ("/v1/experiment", None, {}), ("/v1/experiment/report", None, {}))
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert again.json() == answer.json()  # counted anew after a while only
    assert page.status_code == 200 and "<h1>Experiment toy</h1>" in page.text


def test_a_full_disk_is_told_and_loses_no_later_event(ask: Any, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            return int(kept.write(data[:10]))

    kept = log._file
    ask(embed("u0"))
    monkeypatch.setattr(log, "_file", Full())
    (answer,) = ask(embed("u1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "log_failed")
    monkeypatch.setattr(log, "_file", kept)
    ask(embed("u2"))
    found = read_log(log.folder)
    assert len(found.events) == 2 and len(found.problems) == 1


def test_coheres_api_serves_the_arms_too(ask: Any, log: EventLog, library: EmbeddingModel) -> None:
    body = {"model": "toy", "texts": ["one two"], "input_type": "search_query", "embedding_types": ["float", "int8"]}
    keys = [{"X-Poolwise-Key": f"u{number}"} for number in range(6)]
    answers = ask(*(("/v2/embed", body, key) for key in keys))
    arms = [answer.headers["X-Poolwise-Arm"] for answer in answers]
    assert arms == [log.assign(f"u{number}").name for number in range(6)] and set(arms) == {"A", "B"}
    found = [logged.event for logged in read_log(log.folder).events]
    assert [event.id for event in found] == [answer.headers["X-Poolwise-Exposure"] for answer in answers]
    vectors = answers[0].json()["embeddings"]
    np.testing.assert_allclose(np.array(vectors["float"][0]), library.encode_query("one two"), atol=2e-6)
    assert len(vectors["int8"][0]) == len(vectors["float"][0])


@pytest.mark.parametrize(
    ("key", "changes", "words"),
    [
        (None, {}, "wanted the header X-Poolwise-Key"),
        ("u", {"input_type": "search_document"}, "one index for each"),
        ("u", {"texts": [""]}, "texts 0 is empty"),
    ],
)
def test_a_wrong_request_of_coheres_api_is_no_exposure(
    ask: Any, log: EventLog, key: str | None, changes: dict[str, Any], words: str
) -> None:
    body = {"model": "toy", "texts": ["one"], "input_type": "search_query"} | changes
    (answer,) = ask(("/v2/embed", body, {"X-Poolwise-Key": key} if key else {}))
    assert answer.status_code == 400 and words in answer.json()["message"]
    assert read_log(log.folder).events == []


def test_models_must_be_those_of_the_arms(log: EventLog, served: ServedModel) -> None:
    with pytest.raises(ConfigError, match="--arm names A; wanted the arms of the design of experiment toy: A, B"):
        ServedExperiment(log, {"A": served})


@pytest.mark.parametrize(
    ("arms", "split", "message"),
    [
        (["A=x"], None, "--arm names A; wanted each arm"),
        (["A=x", "A=y"], None, "--arm names A, A"),
        (["A=x", "C=y"], None, "--arm names A, C"),
        (["A=x", "B"], None, "--arm B; wanted NAME=MODEL"),
        (["A=x", "B=y"], "60/40", "--split 60/40; wanted that of the design"),
        (["A=x", "B=y"], "50", "--split 50; wanted"),
        (["A=x", "B=y"], "a/b", "--split a/b; wanted"),
    ],
)
def test_arms_and_shares_are_those_of_the_design(
    tmp_path: Path, arms: list[str], split: str | None, message: str
) -> None:
    folder = begun(tmp_path / "ab")
    with pytest.raises(ConfigError, match=message):
        arms_of(folder, arms, split)


def test_the_split_may_be_written_in_any_unit(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design())
    assert arms_of(folder, ["B=y", "A=x=1"], "1/1") == {"A": "x=1", "B": "y"}
    assert arms_of(None, [], None) == {}
    with pytest.raises(ConfigError, match="without --experiment"):
        arms_of(None, ["A=x"], None)
