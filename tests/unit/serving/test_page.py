"""The page of a server: its files, what it asks the server for, limits, keys and the report."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import tiny_models
from ab_folder import begun, design, run_traffic
from poolwise.errors import ConfigError
from poolwise.experiments import open_log
from poolwise.models import EmbeddingModel, build_model, pooling_weights
from poolwise.serving import ServedExperiment, ServedModel, ServeSettings, create_app
from poolwise.serving.page import ASSETS, PAGE_PATHS, add_page
from poolwise.serving.page_state import MOST_WAITING, TICKET_SECONDS, Tickets, find_report
from poolwise.serving.served_experiment import STATE_SECONDS
from poolwise.serving.served_indexes import ServedIndex, parse_indexes
from served_app import client_of

pytestmark = pytest.mark.anyio

TEXTS = ["a dog runs", "the old man plays a guitar", "stocks fell"]
DOCUMENTS = [*TEXTS, "how do i sort a list", "the old man sings in the park"]


@dataclass(frozen=True)
class Row:
    id: str
    score: float
    text: str | None


class Listed:
    """An index of some texts, searched by comparing all of them."""

    def __init__(self, vectors: np.ndarray, texts: list[str | None]) -> None:
        self.vectors, self.texts = vectors, texts

    def __len__(self) -> int:
        return len(self.texts)

    def search(self, queries: np.ndarray, k: int) -> list[list[Row]]:
        scores = queries @ self.vectors.T
        return [[Row(f"d{i}", float(row[i]), self.texts[i]) for i in np.argsort(-row)[:k]] for row in scores]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EmbeddingModel]:
    base = tiny_models.save_tiny_base(tmp_path_factory.mktemp("page") / "base", "llama")
    designs = {"one": "mean+causal", "two": "multilayer(tokens=mean)+bidirectional"}
    return {
        name: build_model(design, base, max_tokens=16, precision="fp32", prompts={"query": "query : "})
        for name, design in designs.items()
    }


@pytest.fixture(scope="module")
def served(library: dict[str, EmbeddingModel]) -> Iterator[dict[str, ServedModel]]:
    found = {name: ServedModel(name, model) for name, model in library.items()}
    yield found
    for model in found.values():
        model.close()


@pytest.fixture
def page(served: dict[str, ServedModel]) -> Callable[..., Any]:
    """Return a function that opens a client of an app with the page."""

    @asynccontextmanager
    async def opened(
        *,
        headers: dict[str, str] | None = None,
        indexes: dict[str, ServedIndex] | None = None,
        report: Path | None = None,
        **settings: Any,
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(served, ServeSettings(**settings), open_paths=PAGE_PATHS, indexes=indexes)
        add_page(app, report=report)
        async with client_of(app, headers=headers) as client:
            yield client

    return opened


def index_of(served: ServedModel, model: EmbeddingModel, texts: list[str | None] | None = None) -> ServedIndex:
    vectors = model.encode(DOCUMENTS, normalize_embeddings=True)
    return ServedIndex(served.name, Listed(vectors, texts or list(DOCUMENTS)), served.info.fingerprint, 32)


async def test_every_file_is_served_with_a_policy_that_allows_no_other_host_and_no_inline_script(page: Any) -> None:
    async with page() as client:
        for path in ASSETS:
            answer = await client.get(path)
            assert answer.status_code == 200 and answer.content
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        html = (await client.get("/")).text
        assert "onclick" not in html and "style=" not in html and "<style" not in html


async def test_the_files_name_each_other_only(page: Any) -> None:
    named = set(ASSETS)
    async with page() as client:
        for path in ASSETS:
            text = (await client.get(path)).text
            assert "innerHTML" not in text and "https://" not in text
            imported = {part.split('"')[0] for part in text.split(' from "')[1:]} if path.endswith(".js") else set()
            assert imported <= named
        html = (await client.get("/")).text
        files = {part.split('"')[0] for key in ('href="', 'src="') for part in html.split(key)[1:]}
        assert files - {"data:,", "#main", "#experiment"} <= named


async def test_similarities_are_those_of_the_library(page: Any, library: dict[str, EmbeddingModel]) -> None:
    async with page() as client:
        body = {"models": ["one", "two"], "texts": TEXTS, "input_type": "query"}
        found = (await client.post("/page/similarity", json=body)).json()
    for name, shown in zip(("one", "two"), found["models"], strict=True):
        vectors = library[name].encode(TEXTS, prompt="query : ", normalize_embeddings=True)
        assert shown["name"] == name
        np.testing.assert_allclose(shown["similarity"], vectors @ vectors.T, atol=2e-5)
    assert found["compared"]["num_pairs"] == 3


async def test_one_model_has_nothing_to_be_compared_with(page: Any) -> None:
    async with page() as client:
        found = (await client.post("/page/similarity", json={"models": ["one"], "texts": TEXTS})).json()
    assert len(found["models"]) == 1 and found["compared"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("similarity", {"models": ["one"], "texts": ["a"]}, 400, "wanted at least two"),
        ("similarity", {"models": ["one"], "texts": ["a", " "]}, 400, "none of them empty"),
        ("similarity", {"models": ["one"], "texts": ["a"] * 41}, 400, "at most 40"),
        ("similarity", {"models": ["none"], "texts": TEXTS}, 404, "served: one, two"),
        ("similarity", {"models": [], "texts": TEXTS}, 400, "models"),
        ("similarity", {"models": ["one"], "texts": TEXTS, "input_type": "poem"}, 400, "poem"),
        ("similarity", {"models": ["one"], "texts": ["a", "b\ud800"]}, 400, ""),
        ("weights", {"models": ["one"], "text": " "}, 400, "text is empty"),
        ("weights", {"models": ["one"], "text": "a" * 4001}, 400, "wanted at most 4000"),
        ("weights", {"models": ["one"], "text": "a", "more": 1}, 400, "more is not a field"),
        ("search", {"indexes": ["none"], "query": "a"}, 404, "indexes: one"),
        ("search", {"indexes": ["one"], "query": " "}, 400, "query is empty"),
        ("search", {"indexes": ["one"], "query": "a", "k": 51}, 400, "k"),
    ],
)
async def test_what_is_wrong_is_said(
    page: Any, served: Any, library: Any, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    async with page(indexes={"one": index_of(served["one"], library["one"])}) as client:
        # Written here: the client cannot encode half of a surrogate pair.
        kind = {"Content-Type": "application/json"}
        answer = await client.post(f"/page/{path}", content=json.dumps(body), headers=kind)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


async def test_weights_are_those_of_the_library_and_are_explained(
    page: Any, library: dict[str, EmbeddingModel]
) -> None:
    async with page() as client:
        found = (await client.post("/page/weights", json={"models": ["one", "two"], "text": TEXTS[0]})).json()
    for name, shown in zip(("one", "two"), found["models"], strict=True):
        (wanted,) = pooling_weights(library[name], [TEXTS[0]])
        assert [token["weight"] for token in shown["tokens"]] == pytest.approx([t.weight for t in wanted.tokens])
        assert shown["layers"] == pytest.approx(wanted.layers, abs=1e-5)
    one, two = found["models"]
    assert one["told"] == ["The embedding is the sum of the tokens' states with these weights."]
    assert two["told"][0] == "The attention of the pooling to each layer, averaged over its queries and heads."


async def test_a_search_tells_each_rank_in_the_other_index(page: Any, served: Any, library: Any) -> None:
    indexes = {name: index_of(served[name], library[name]) for name in ("one", "two")}
    async with page(indexes=indexes) as client:
        body = {"indexes": ["one", "two"], "query": "a dog", "k": 3}
        found = (await client.post("/page/search", json=body)).json()
    orders = []
    for name, result in zip(("one", "two"), found["results"], strict=True):
        model = library[name]
        query = model.encode(["a dog"], prompt="query : ", normalize_embeddings=True)
        scores = (query @ model.encode(DOCUMENTS, normalize_embeddings=True).T)[0]
        orders.append([f"d{i}" for i in np.argsort(-scores)])
        assert [hit["id"] for hit in result["hits"]] == orders[-1][:3]
        assert [hit["score"] for hit in result["hits"]] == pytest.approx(sorted(scores, reverse=True)[:3], abs=1e-4)
    for number, result in enumerate(found["results"]):
        assert [hit["other"] for hit in result["hits"]] == [
            orders[1 - number].index(hit["id"]) + 1 for hit in result["hits"]
        ]
    assert found["num_shared"] == len({*orders[0][:3]} & {*orders[1][:3]})


async def test_a_row_that_the_other_index_lacks_has_no_rank_there_and_long_texts_are_cut(
    page: Any, served: Any, library: Any
) -> None:
    whole = index_of(served["one"], library["one"], [None, "long " * 300, *DOCUMENTS[2:]])
    none = ServedIndex("empty", Listed(np.empty((0, 32), np.float32), []), served["two"].info.fingerprint, 32)
    async with page(indexes={"one": whole, "empty": none}) as client:
        body = {"indexes": ["one", "empty"], "query": "a dog", "k": 10}
        found = (await client.post("/page/search", json=body)).json()
        alone = (await client.post("/page/search", json={"indexes": ["one"], "query": "a dog"})).json()
    hits = {hit["id"]: hit for hit in found["results"][0]["hits"]}
    assert {hit["other"] for hit in hits.values()} == {None} and found["results"][1]["hits"] == []
    assert hits["d0"]["text"] is None and hits["d1"]["is_cut"] and len(hits["d1"]["text"]) == 600
    assert found["num_shared"] == 0 and alone["num_shared"] == 5


async def test_what_the_page_offers_is_told(page: Any, served: Any, library: Any) -> None:
    async with page(indexes={"one": index_of(served["one"], library["one"])}, max_texts=12) as client:
        found = (await client.get("/page/state")).json()
    assert [model["name"] for model in found["models"]] == ["one", "two"]
    assert found["models"][0]["design"] == "mean+causal" and found["models"][0]["prompts"] == ["query"]
    assert found["indexes"] == [{"name": "one", "num_rows": 5, "model": "one"}]
    assert found["most_texts"] == 12 and found["has_report"] is False


async def test_files_need_no_key_and_everything_else_does(page: Any, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>a report")
    async with page(keys=("secret",), report=tmp_path) as client:
        for path in ASSETS:
            assert (await client.get(path)).status_code == 200
        for path in ("similarity", "weights", "search", "ticket"):
            assert (await client.post(f"/page/{path}", json={})).status_code == 401
        assert (await client.get("/page/state")).status_code == 401
        assert (await client.get("/page/experiment")).status_code == 401
        assert (await client.get("/page/report")).status_code == 401
        assert (await client.get("/page/report?ticket=guessed")).status_code == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.get("/page/report", headers=key)).text == "<p>a report"
        url = (await client.post("/page/ticket", headers=key, json={})).json()["url"]
        assert (await client.get(url)).text == "<p>a report"
        assert (await client.get(url)).status_code == 401


async def test_the_report_is_in_a_sandbox(page: Any, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>a report")
    async with page(report=tmp_path / "report.html") as client:
        answer = await client.get("/page/report")
    assert answer.text == "<p>a report" and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts") and "same-origin" not in policy
    async with page() as client:
        assert (await client.get("/page/report")).status_code == 404
        assert (await client.post("/page/ticket", json={})).status_code == 404


async def test_too_many_requests_at_once_are_sent_away(page: Any, served: Any) -> None:
    app = create_app(served, ServeSettings(), open_paths=PAGE_PATHS)
    add_page(app)
    app.state.page.turns.num_waiting = MOST_WAITING
    async with client_of(app) as client:
        answer = await client.post("/page/weights", json={"models": ["one"], "text": "a dog"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        app.state.page.turns.num_waiting = 0
        for _ in range(2):
            assert (await client.post("/page/weights", json={"models": ["one"], "text": "a"})).status_code == 200
    assert app.state.page.turns.num_waiting == 0


async def test_the_running_experiment_is_drawn_by_the_code_of_its_report(
    page: Any, served: Any, tmp_path: Path
) -> None:
    arms = [{"name": "one", "share": 1}, {"name": "two", "share": 1}]
    folder = begun(tmp_path / "ab", design(arms=arms))
    run_traffic(folder, {"one": 0.3, "two": 0.5}, users=400, days=4)
    with open_log(folder) as log:
        app = create_app(served, ServeSettings(), open_paths=PAGE_PATHS, experiment=ServedExperiment(log, served))
        add_page(app)
        async with client_of(app) as client:
            assert (await client.get("/page/state")).json()["experiment"] == "toy"
            found = (await client.get("/page/experiment")).json()
            report = (await client.get("/v1/experiment/report")).text
    html = {block["key"]: block["html"] for block in found["blocks"]}
    assert list(html) == ["head", "verdict-0", "metrics-0", "metrics-1", "arms-0", "method"]
    drawn = re.findall(r"<svg.*?</svg>", html["metrics-1"])
    assert len(drawn) == 4 and all(svg in report for svg in drawn)
    assert 'class="sequence' in html["metrics-1"] and "Split: as planned" in html["arms-0"]
    assert found["seconds"] == STATE_SECONDS and "style=" not in "".join(html.values())
    async with page() as client:
        assert (await client.get("/page/experiment")).status_code == 404
        assert (await client.get("/page/state")).json()["experiment"] is None


def test_a_ticket_is_valid_once_and_for_some_seconds() -> None:
    now = [0.0]
    tickets = Tickets(clock=lambda: now[0])
    one, other = tickets.issue(), tickets.issue()
    assert one != other and tickets.take(one) and not tickets.take(one) and not tickets.take("")
    now[0] = TICKET_SECONDS + 1
    assert not tickets.take(other)
    many = [tickets.issue() for _ in range(101)]
    assert not tickets.take(many[0]) and tickets.take(many[-1])


def test_an_index_of_a_model_that_is_not_served_is_refused(served: Any) -> None:
    other = ServedIndex("other", Listed(np.empty((0, 32), np.float32), []), "0123456789abcdef", 32)
    with pytest.raises(ConfigError, match="--index other was encoded by model 0123456789abcdef, which is not served"):
        create_app(served, ServeSettings(), indexes={"other": other})


def test_names_of_indexes_are_read() -> None:
    assert parse_indexes(["docs=runs/a", "runs/b/", "c"]) == {"docs": "runs/a", "b": "runs/b/", "c": "c"}
    for bad in ("=runs", "docs=", ""):
        with pytest.raises(ConfigError, match="wanted NAME=DIR"):
            parse_indexes([bad])
    with pytest.raises(ConfigError, match="two indexes are called a"):
        parse_indexes(["a=x", "a=y"])


def test_a_report_is_a_file_or_in_a_folder(tmp_path: Path) -> None:
    assert find_report(None) is None
    with pytest.raises(ConfigError, match="is no report"):
        find_report(tmp_path)
    (tmp_path / "report.html").write_text("x")
    assert find_report(tmp_path) == find_report(tmp_path / "report.html") == (tmp_path / "report.html").resolve()
    (tmp_path / "report.md").write_text("x")
    with pytest.raises(ConfigError, match="is no report"):
        find_report(tmp_path / "report.md")
