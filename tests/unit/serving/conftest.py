"""A served tiny model, the same model of the library, and a client of its app in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import tiny_models
from poolwise.models import EmbeddingModel, build_model
from poolwise.serving import ServedModel, ServeSettings, create_app
from served_app import client_of

PROMPTS = {"query": "query : ", "document": "document : "}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with prompts and a matryoshka dimension."""
    place = tmp_path_factory.mktemp("served")
    base = tiny_models.save_tiny_base(place / "base", "llama")
    model = build_model("mean+causal", base, max_tokens=16, precision="fp32", prompts=PROMPTS)
    model[0].matryoshka = (16, 32)
    model.save(str(place / "tiny"))
    return place / "tiny"


@pytest.fixture(scope="session")
def library(folder: Path) -> EmbeddingModel:
    """The model as the library loads it."""
    import poolwise

    return poolwise.load_model(folder, precision="fp32")


@pytest.fixture(scope="session")
def served(folder: Path) -> Iterator[ServedModel]:
    model = ServedModel("tiny", str(folder), precision="fp32")
    yield model
    model.close()


@pytest.fixture
def client(served: ServedModel) -> Callable[..., Any]:
    """Return a function that opens a client of an app with these settings."""

    @asynccontextmanager
    async def opened(*, headers: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with client_of(create_app({"tiny": served}, ServeSettings(**settings)), headers=headers) as found:
            yield found

    return opened
