"""Uploads a bundle to a hub in one commit, and never over another model unless that is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolwise.errors import ConfigError, ModelError
from poolwise.hub import hub_reason, is_reachable
from poolwise.models.saved_folder import CONFIG, INCLUDED_BASE, is_model_part
from poolwise.publish.bundle import Bundle, require_model
from poolwise.storage.fingerprints import file_hash
from poolwise.storage.json_text import load_json
from poolwise.upstream.huggingface_hub import endpoint, is_network_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".onnx", ".pt", ".h5", ".msgpack")
_BASE_KEYS = ("base_included", "base_places", "base_beside")


@dataclass(frozen=True)
class Pushed:
    """What a push did. ``commit`` names the version that was sent, ``url`` is its page."""

    repository: str
    commit: str
    url: str
    is_new: bool


@dataclass(frozen=True)
class _Remote:
    """What is in a repository: its commit, and for every file the hash by which the hub knows it.

    ``lacks_branch``: the branch that is pushed to does not exist yet and will start from this commit.
    """

    commit: str
    is_private: bool
    hashes: dict[str, str]
    lacks_branch: bool = False


def push_bundle(
    bundle: Bundle,
    *,
    private: bool = False,
    branch: str | None = None,
    replaces: bool = False,
    token: str | None = None,
) -> Pushed:
    """Send a bundle to the hub that ``HF_ENDPOINT`` names, in one commit, and return the commit.

    A repository that does not exist is created. The same model with another card, or with its base added, is updated.

    Args:
        private: create the repository as a private one.
        branch: commit to this branch, which is created if needed; None is ``main``.
        replaces: commit over another model that is on the branch; it stays in the history.
        token: of the hub; None takes ``HF_TOKEN`` or the one that ``hf auth login`` saved.
    Raises: ModelError where the hub does not answer, there is no valid token, or the token may not write there;
        ConfigError where the repository holds another model, or is public and ``private`` is asked for.
    """
    from huggingface_hub import HfApi

    require_model(bundle)
    repository = bundle.repository
    api = HfApi(token=_token(token))
    with _explained(f"cannot sign in at {endpoint()}"):
        user = str(api.whoami()["name"])
    with _explained(f"cannot read {repository} at {endpoint()}"):
        remote = _look(api, repository, branch)
    if remote is None:
        with _explained(f"{user} cannot create {repository}"):
            api.create_repo(repository, private=private or None)
            remote = _look(api, repository, None)
        is_new = True
    else:
        is_new, replaces = False, replaces or remote.lacks_branch
        with _explained(f"cannot read {repository} at {endpoint()}"):
            _check(api, bundle, remote, private=private, replaces=replaces)
    assert remote is not None
    with _explained(f"{user} cannot write to {repository}"):
        if branch is not None and (is_new or remote.lacks_branch):
            api.create_branch(repository, branch=branch, exist_ok=True)
        info = api.create_commit(
            repository,
            operations=_operations(bundle, remote, replaces=replaces),
            commit_message="Upload a model with poolwise",
            revision=branch,
            parent_commit=remote.commit,
        )
    return Pushed(repository, str(info.oid), f"{endpoint()}/{repository}/tree/{info.oid}", is_new)


def _token(given: str | None) -> str:
    """Return the token of the hub, after checking that the hub answers at all."""
    from huggingface_hub import get_token, is_offline_mode

    if is_offline_mode():
        raise ModelError("HF_HUB_OFFLINE is set, so nothing is sent", "wanted a hub", "unset it, or use --dry-run")
    if not is_reachable():
        raise ModelError(
            f"{endpoint()} cannot be reached",
            "wanted the address of a hub that answers",
            "check the network and HF_ENDPOINT; --dry-run needs neither",
        )
    if token := given or get_token():
        return token
    raise ModelError(
        f"no token for {endpoint()}",
        "wanted one that may write (HF_TOKEN, or the one that hf auth login saves)",
        f"make one at {endpoint()}/settings/tokens",
    )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an error of the hub or the network into one that says what could not be done."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if not isinstance(error, OSError | ValueError | RuntimeError) and not is_network_error(error):
            raise
        cause = error.__cause__ if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception) else error
        raise ModelError(
            f"{what}: {hub_reason(cause)}",
            "wanted a repository of your own, or of an organisation in which you may write",
            "nothing was committed; check the name and the token, then run the same command again",
        ) from error


def _look(api: HfApi, repository: str, branch: str | None) -> _Remote | None:
    """Return what a repository holds, on a branch or on its main one; None if there is no such repository."""
    from huggingface_hub import RepoFile
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = api.model_info(repository, revision=branch)
    except RepositoryNotFoundError:
        return None
    except RevisionNotFoundError:
        found = _look(api, repository, None)
        return None if found is None else replace(found, lacks_branch=True)
    commit = str(info.sha)
    listed = api.list_repo_tree(repository, recursive=True, revision=commit)
    hashes = {
        found.path: found.lfs.sha256 if found.lfs else found.blob_id for found in listed if isinstance(found, RepoFile)
    }
    return _Remote(commit, bool(info.private), hashes)


def _check(api: HfApi, bundle: Bundle, remote: _Remote, *, private: bool, replaces: bool) -> None:
    """Raise ConfigError where a push would publish what should be private, or put a model over another one."""
    if private and not remote.is_private:
        raise ConfigError(
            f"{bundle.repository} is public already",
            "wanted a new or a private repository with --private",
            "change it in its settings on the hub, or leave --private out",
        )
    if replaces or not (other := _other_model(api, bundle, remote)):
        return
    raise ConfigError(
        f"{bundle.repository} holds {other}",
        "wanted a new repository, an empty one, or an earlier version of this model's card",
        "give another name or --branch; --replace commits over it (its history keeps the old files)",
    )


def _other_model(api: HfApi, bundle: Bundle, remote: _Remote) -> str:
    """Return what a repository holds if that is not this model, in words; empty if it is, or if it holds no model."""
    theirs = {
        name: digest
        for name, digest in remote.hashes.items()
        if name.endswith(_WEIGHTS) and not name.startswith(f"{INCLUDED_BASE}/")
    }
    if CONFIG not in remote.hashes:
        files = sorted({*theirs, *({"config.json", "modules.json"} & remote.hashes.keys())})
        return f"another model, not made by poolwise ({', '.join(files[:3])})" if files else ""
    path = api.hf_hub_download(bundle.repository, CONFIG, revision=remote.commit)
    try:
        config = load_json(Path(path))
    except ValueError:
        config = {}
    if _identity(config) != _identity(bundle.config):
        return f"another poolwise model ({config.get('design', 'a damaged one')} on {config.get('base', 'a base')})"
    theirs = {name: digest for name, digest in theirs.items() if _is_part(name)}
    ours = {name: found for name, found in bundle.files.items() if name in theirs}
    is_same = ours.keys() == theirs.keys() and all(theirs[name] in _hashes(found) for name, found in ours.items())
    return "" if is_same else f"another training of {config['design']}: its weights differ"


def _is_part(path: str) -> bool:
    """Return whether a file is part of the model; others, such as an export in a folder of its own, stay untouched."""
    return is_model_part(path.partition("/")[0])


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _BASE_KEYS}


def _hashes(found: Path | bytes) -> tuple[str, str]:
    """Return the two hashes by which a hub knows a file: SHA-256 in its large-file storage, else git's of a blob."""
    raw = found if isinstance(found, bytes) else None
    sha256 = hashlib.sha256(raw).hexdigest() if raw is not None else file_hash(found)  # type: ignore[arg-type]
    content = raw if raw is not None else found.read_bytes()  # type: ignore[union-attr]
    return sha256, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _operations(bundle: Bundle, remote: _Remote, *, replaces: bool) -> Sequence[Any]:
    """Return the additions and, where a model is replaced, deletions of files that only the old one has."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=found if isinstance(found, bytes) else str(found))
        for name, found in sorted(bundle.files.items())
    ]
    stale = [name for name in remote.hashes if name not in bundle.files and _is_part(name)]
    return [*(CommitOperationDelete(path_in_repo=name) for name in stale if replaces), *added]
