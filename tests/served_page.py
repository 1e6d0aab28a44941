"""A server's page for a browser: two models, an index of each, and a report, served in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

import tiny_models
from poolwise.models import build_model
from poolwise.serving import ServedExperiment, ServedModel, ServeSettings, create_app
from poolwise.serving.page import PAGE_PATHS, add_page
from poolwise.serving.served_indexes import ServedIndex

HAZARD = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
DOCUMENTS = [*tiny_models.TEXTS, HAZARD, "the old man sings in the park", "one two", "a query in a document"]


@dataclass(frozen=True)
class Row:
    id: str
    score: float
    text: str


class Listed:
    """An index of ``DOCUMENTS``, searched by comparing all of them."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return len(DOCUMENTS)

    def search(self, queries: np.ndarray, k: int) -> list[list[Row]]:
        scores = queries @ self.vectors.T
        return [[Row(f"d{i}", float(row[i]), DOCUMENTS[i]) for i in np.argsort(-row)[:k]] for row in scores]


@dataclass(frozen=True)
class Served:
    models: dict[str, ServedModel]
    indexes: dict[str, ServedIndex]
    report: Path


@contextmanager
def served_in(folder: Path) -> Iterator[Served]:
    """Yield two models with hostile names, an index for each, and a report, which lies in a folder."""
    base = tiny_models.save_tiny_base(folder / "base", "llama")
    models, indexes = {}, {}
    designs = {"mean model": "mean+causal", f"layers {HAZARD}": "multilayer(tokens=mean)+bidirectional"}
    for name, design in designs.items():
        model = build_model(design, base, max_tokens=32, precision="fp32", prompts={"query": "query : "})
        vectors = model.encode(DOCUMENTS, normalize_embeddings=True)
        models[name] = ServedModel(name, model)
        indexes[f"docs {name}"] = ServedIndex(f"docs {name}", Listed(vectors), models[name].info.fingerprint, 32)
    (folder / "report.html").write_text("<!DOCTYPE html><title>the report</title><p>a report")
    yield Served(models, indexes, folder / "report.html")
    for served_model in models.values():
        served_model.close()


@contextmanager
def running(served: Served, experiment: ServedExperiment | None = None, **settings: Any) -> Iterator[str]:
    """Serve in a thread, and yield the address."""
    app = create_app(
        served.models,
        ServeSettings(**settings),
        open_paths=PAGE_PATHS,
        indexes=served.indexes,
        experiment=experiment,
    )
    add_page(app, report=served.report)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
