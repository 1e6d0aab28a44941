"""A hub on this machine that speaks as much of the Hugging Face Hub's protocol as pushing and loading models needs.

Written after the requests that huggingface_hub 2.4 sends: repositories, commits of plain and large files, branches,
private repositories, tokens. Large files go through Git LFS, since the other storage (xet) has no open server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

LARGE = (".safetensors", ".gguf", ".bin")
TOKENS = {"hf_alice": "alice", "hf_bob": "bob"}
LICENCES = {"apache-2.0", "mit", "other", "cc-by-4.0"}
PIPELINES = {"sentence-similarity", "feature-extraction"}


@dataclass
class Repository:
    owner: str
    is_private: bool
    branches: dict[str, str]
    commits: dict[str, dict[str, bytes]]

    def commit(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)

    def add(self, branch: str, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[digest] = files
        self.branches[branch] = digest
        return digest


@dataclass
class Hub:
    """What the hub holds, and every request it got: ``("GET", path)``."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    broken: str = ""
    """The part of a path at which the hub answers 500 instead."""

    def create(self, name: str, owner: str, *, is_private: bool = False) -> Repository:
        found = Repository(owner, is_private, {}, {})
        found.add("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.repositories[name] = found
        return found

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[name]
        return found.commits[found.commit(revision) or ""]

    def downloads(self) -> set[str]:
        """The paths of the files that were fetched."""
        asked = [path.partition("/resolve/")[2] for verb, path in self.requests if verb == "GET"]
        return {path.partition("/")[2] for path in asked if path}


def is_large(path: str) -> bool:
    return path.endswith(LARGE)


def git_hash(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


class Refused(Exception):  # noqa: N818
    def __init__(self, status: int, code: str = "", message: str = "", body: Any = None) -> None:
        super().__init__(status)
        self.status, self.code, self.message, self.body = status, code, message, body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, verb: str) -> None:
        raw = self._body()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((verb, path))
        try:
            if self.hub.broken and self.hub.broken in path:
                raise Refused(507, message="Insufficient Storage")
            status, headers, body = self._route(verb, path, raw)
        except Refused as refused:
            status, body = refused.status, json.dumps(refused.body or {"error": refused.message}).encode()
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if verb != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _user(self, *, is_needed: bool = True) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in TOKENS:
            raise Refused(401, message="Invalid credentials in Authorization header")
        if not token and is_needed:
            raise Refused(401, message="Unauthorized")
        return TOKENS.get(token, "")

    def _repository(self, name: str, *, writes: bool = False) -> Repository:
        user = self._user(is_needed=writes)
        found = self.hub.repositories.get(name)
        if found is None or (found.is_private and found.owner != user):
            raise Refused(404, "RepoNotFound", "Repository not found")
        if writes and found.owner != user:
            raise Refused(403, message="you may not write here")
        return found

    def _route(self, verb: str, path: str, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        if path == "/api/whoami-v2":
            return _json({"name": self._user(), "type": "user", "orgs": []})
        if path == "/api/validate-yaml":
            return _validated(json.loads(raw)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(raw))
        if path.startswith("/lfs/"):
            digest = path.rpartition("/")[2]
            if hashlib.sha256(raw).hexdigest() != digest:
                raise Refused(400, message="the content has another hash")
            self.hub.large[digest] = raw
            return _json({})
        if path.endswith(".git/info/lfs/objects/batch"):
            self._repository(path[1:].partition(".git/")[0], writes=True)
            return _json({"transfer": "basic", "objects": [self._action(o) for o in json.loads(raw)["objects"]]})
        if "/resolve/" in path:
            return self._file(verb, path)
        if path.startswith("/api/models/"):
            return self._of_repository(verb, path.removeprefix("/api/models/"), raw)
        raise Refused(404, "", f"no such page: {path}")

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        user = self._user()
        owner = asked.get("organization") or user
        name = f"{owner}/{asked['name']}"
        if owner != user:
            raise Refused(403, message=f"you may not create repositories of {owner}")
        if name in self.hub.repositories:
            raise Refused(409, message="You already created this model repo")
        self.hub.create(name, user, is_private=asked.get("visibility") == "private")
        return _json({"url": f"{self.hub.url}/{name}"})

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        found = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.hub.large:
            return found
        return found | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}}

    def _file(self, verb: str, path: str) -> tuple[int, dict[str, str], bytes]:
        name, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        found = self._repository(name)
        commit = found.commit(revision)
        if commit is None:
            raise Refused(404, "RevisionNotFound", "no such revision")
        if file not in found.commits[commit]:
            raise Refused(404, "EntryNotFound", "no such file")
        raw = found.commits[commit][file]
        digest = hashlib.sha256(raw).hexdigest() if is_large(file) else git_hash(raw)
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Content-Length": str(len(raw))}, raw

    def _of_repository(self, verb: str, rest: str, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        owner, name, *parts = rest.split("/")
        full = f"{owner}/{name}"
        verbs = {"preupload", "commit", "branch"}
        found = self._repository(full, writes=bool(parts) and parts[0] in verbs)
        kind, revision = parts[0] if parts else "revision", "/".join(parts[1:]) or "main"
        if kind == "branch":
            if revision in found.branches:
                raise Refused(409, message="the branch exists")
            found.branches[revision] = found.branches["main"]
            return _json({})
        commit = found.commit(revision)
        if commit is None:
            raise Refused(404, "RevisionNotFound", "no such revision")
        files = found.commits[commit]
        if kind == "preupload":
            return _json({"files": [_mode(entry, files) for entry in json.loads(raw)["files"]]})
        if kind == "commit":
            return self._commit(full, found, revision, raw)
        if kind == "tree":
            return _json([_entry(path, content) for path, content in sorted(files.items())])
        siblings = [{"rfilename": path} for path in files]
        info = {"id": full, "modelId": full, "sha": commit, "private": found.is_private, "siblings": siblings}
        return _json(info | {"tags": [], "downloads": 0, "likes": 0})

    def _commit(self, full: str, found: Repository, branch: str, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        header, *operations = [json.loads(line) for line in raw.splitlines()]
        if header["value"].get("parentCommit") not in (None, found.branches[branch]):
            raise Refused(412, message="another commit was made meanwhile")
        files = dict(found.commits[found.branches[branch]])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                del files[value["path"]]
        commit = found.add(branch, files)
        return _json({"commitUrl": f"{self.hub.url}/{full}/commit/{commit}", "commitOid": commit})


def _json(value: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _mode(entry: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    path = entry["path"]
    oid = git_hash(files[path]) if path in files and not is_large(path) else None
    return {
        "path": path,
        "uploadMode": "lfs" if is_large(path) else "regular",
        "shouldIgnore": False,
        **({"oid": oid} if oid else {}),
    }


def _entry(path: str, raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(raw), "oid": git_hash(raw)}
    if is_large(path):
        found["lfs"] = {"oid": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 130}
    return found


def _validated(text: str) -> tuple[int, dict[str, str], bytes]:
    """Check the front matter as the hub does: known licence and pipeline, a base model that is a repository's name."""
    found = yaml.safe_load(text.split("---\n")[1])
    errors = []
    if found.get("license", "mit") not in LICENCES:
        errors.append(f'"license" must be one of {sorted(LICENCES)}')
    if found.get("license") == "other" and not found.get("license_name"):
        errors.append('"license_name" is required')
    if found.get("pipeline_tag") not in PIPELINES:
        errors.append(f'"pipeline_tag" must be one of {sorted(PIPELINES)}')
    if len(str(found.get("base_model", "a/b")).split("/")) != 2 or "@" in str(found.get("base_model", "")):
        errors.append('"base_model" must be a model id')
    if not all(isinstance(tag, str) for tag in found.get("tags", [])):
        errors.append('"tags" must be text')
    return _json({"errors": [{"message": text} for text in errors], "warnings": []}, 400 if errors else 200)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Yield a hub that answers while the block runs."""
    hub = Hub()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(hub: Hub, folder: Path, token: str = "hf_alice") -> dict[str, str]:
    """Return the environment in which the libraries use this hub, a cache below ``folder``, and a token."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hub-home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": token,
        "no_proxy": "127.0.0.1",
    }


def use_hub(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str = "hf_alice") -> None:
    """Make the libraries of this process use the hub; they read the environment only once."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_TOKEN", token)
    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "hub-cache"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(folder / "no-token"),
        "HF_STORED_TOKENS_PATH": str(folder / "no-tokens"),
    }
    for name, value in values.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
