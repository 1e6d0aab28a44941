"""A stand-in for a Qdrant server: it parses requests with the client's own models and answers from its local mode.

It shows that the requests are those of Qdrant's interface, not how a server answers them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "a-key"


@contextmanager
def qdrant_stand_in() -> Iterator[str]:
    """Yield the URL of a server that holds collections in memory and asks for ``API_KEY``."""
    from qdrant_client import QdrantClient, models

    client, lock = QdrantClient(":memory:", force_disable_check_same_thread=True), threading.Lock()

    def answer(method: str, parts: list[str], body: Any) -> Any:
        match method, parts:
            case "GET", ["collections"]:
                return client.get_collections()
            case "GET", ["collections", name, "exists"]:
                return {"exists": client.collection_exists(name)}
            case "GET", ["collections", name]:
                return client.get_collection(name)
            case "DELETE", ["collections", name]:
                return client.delete_collection(name)
            case "PUT", ["collections", name]:
                asked = models.CreateCollection(**body)
                return client.create_collection(name, vectors_config=asked.vectors, metadata=asked.metadata)
            case "PUT", ["collections", name, "points"]:
                return client.upsert(name, models.PointsBatch(**body).batch)
            case "POST", ["collections", name, "points", "query", "batch"]:
                searches = models.QueryRequestBatch(**body).searches
                assert all(search.params is not None for search in searches)
                return client.query_batch_points(
                    name, [search.model_copy(update={"params": None}) for search in searches]
                )
        raise LookupError(f"{method} /{'/'.join(parts)}")

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told = 200, None
            if self.headers.get("api-key") != API_KEY:
                status = 401
            else:
                with lock:
                    told = answer(
                        self.command, self.path.partition("?")[0].strip("/").split("/"), json.loads(raw or "null")
                    )
            result = json.dumps(told, default=lambda value: value.model_dump(mode="json"))
            content = f'{{"result": {result}, "status": "ok", "time": 0}}'.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()
