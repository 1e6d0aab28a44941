"""Embeddings from a folder that ``poolwise export --target gguf`` wrote: ``python RUNNER FOLDER TEXTS.json OUT.npy``.

It needs numpy and llama.cpp's ``llama-server``, on PATH or named by ``POOLWISE_LLAMA_SERVER``.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_START_SECONDS = 120


@contextmanager
def served(folder: Path, num_tokens: int) -> Iterator[str]:
    """Run the server on a free port of this machine and give its address."""
    program = os.environ.get("POOLWISE_LLAMA_SERVER") or shutil.which("llama-server")
    if program is None:
        raise SystemExit("llama-server is not on PATH; install llama.cpp, or set POOLWISE_LLAMA_SERVER to it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A text must fit into one batch: pooling is over the batch. Attention and its cache are in fp32, as weights are;
    # at the server's defaults they are in fp16, and embeddings of a random Llama differed by 1e-3 instead of 7e-7.
    sizes = [part for option in ("-c", "-b", "-ub") for part in (option, str(num_tokens))]
    cache = ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
    place = ["--host", "127.0.0.1", "--port", str(port)]
    command = [program, "-m", str(folder / "model.gguf"), "--embeddings", "--parallel", "1", *sizes, *cache, *place]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server has loaded the model."""
    for _ in range(_START_SECONDS * 5):
        if process.poll() is not None:
            raise SystemExit(f"llama-server ended with exit code {process.returncode}: it cannot load the model")
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"llama-server was not ready after {_START_SECONDS} seconds")


def post(address: str, path: str, body: dict[str, Any]) -> Any:
    """Return the server's answer to a request."""
    request = urllib.request.Request(
        f"{address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def token_ids(address: str, text: str, settings: dict[str, Any]) -> list[int]:
    """Return the ids of a text, which the file's metadata lets end in EOS, truncated with EOS kept."""
    acts = not settings["split_special_tokens"]  # whether a special token that is spelled in a text is read as one
    ids: list[int] = post(address, "tokenize", {"content": text, "add_special": True, "parse_special": acts})["tokens"]
    ids = [*ids[:-1][: settings["max_tokens"] - 1], ids[-1]]
    while len(ids) > settings["num_prefix"] + 1 and ids[-2] == settings["eos_id"]:
        ids.pop()
    return ids


def main(folder: Path, asked: Path, given: Path) -> None:
    """Write one unit vector per text."""
    settings = json.loads((folder / "poolwise_export.json").read_text(encoding="utf-8"))
    rows = json.loads(asked.read_text(encoding="utf-8"))
    prompts = {None: "", **settings["prompts"]}
    vectors = []
    with served(folder, settings["max_tokens"]) as address:
        for row in rows:
            ids = token_ids(address, prompts[row["prompt_name"]] + row["text"], settings)
            found = post(address, "v1/embeddings", {"input": ids})["data"]
            vectors.append(found[0]["embedding"])
    np.save(given, np.array(vectors, dtype=np.float32))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
