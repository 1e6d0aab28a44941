"""``poolwise serve`` with indexes and a report: its page searches them as the library does."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

import poolwise
import tiny_models
from command_line import poolwise as run_poolwise
from poolwise.models import build_model
from serving_process import serving

QUERY = "a dog sings in the park"
DESIGNS = {"mean": "mean+causal", "last": "last+bidirectional"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, and an index of the same corpus for each."""
    place = tmp_path_factory.mktemp("page")
    base = tiny_models.save_tiny_base(place / "base", "llama")
    texts = [f"{text} {word}" for text in tiny_models.TEXTS for word in ("one", "two", "dog")]
    rows = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (place / "rows.jsonl").write_text("\n".join(rows))
    for name, design in DESIGNS.items():
        model = build_model(design, base, max_tokens=32, precision="fp32", prompts={"query": "query : "})
        model.save(str(place / name))
        loaded = poolwise.load_model(place / name)
        poolwise.encode_corpus(loaded, place / "rows.jsonl", place / f"{name}-corpus", keep_text=True)
        poolwise.build_index(place / f"{name}-corpus", place / f"{name}-index", model=loaded).close()
    (place / "report.html").write_text("<!DOCTYPE html><title>the report</title>")
    return place


@pytest.mark.slow
def test_the_page_of_a_server_searches_as_the_library_does(folder: Path) -> None:
    indexes = [part for name in DESIGNS for part in ("--index", f"{name}={folder / f'{name}-index'}")]
    with serving(*(folder / name for name in DESIGNS), *indexes, "--report", folder) as server:
        assert "<title>poolwise" in httpx.get(server.url).text
        assert "the report" in httpx.get(f"{server.url}/page/report").text
        body = {"indexes": list(DESIGNS), "query": QUERY, "k": 5}
        found = httpx.post(f"{server.url}/page/search", json=body, timeout=60).json()
    for name, result in zip(DESIGNS, found["results"], strict=True):
        with poolwise.open_index(folder / f"{name}-index", model=poolwise.load_model(folder / name)) as index:
            (wanted,) = index.search([QUERY], k=5)
        assert [hit["id"] for hit in result["hits"]] == [hit.id for hit in wanted]
        assert [hit["text"] for hit in result["hits"]] == [hit.text for hit in wanted]
        assert [hit["score"] for hit in result["hits"]] == pytest.approx([hit.score for hit in wanted], abs=2e-4)


@pytest.mark.parametrize(
    ("option", "told"), [(("--index", "last=last-index"), "not served"), (("--report", "base"), "is no report")]
)
def test_an_index_of_another_model_and_a_missing_report_are_refused_at_the_start(
    folder: Path, option: tuple[str, str], told: str
) -> None:
    found = run_poolwise("serve", "mean", "--port", "0", *option, cwd=folder, code=2)
    assert told in " ".join(found.stderr.split())
