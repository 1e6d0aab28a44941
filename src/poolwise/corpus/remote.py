"""Files behind URLs, of object stores and of the web: found by pattern, and fetched one at a time."""

from __future__ import annotations

import glob
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poolwise.errors import DataError

SILENT_SECONDS = 60.0
"""How long a web server may be silent before it counts as unreachable."""


def is_url(name: str) -> bool:
    """Return whether an input names a file that is not on this machine, such as ``s3://bucket/part-*.parquet``."""
    return "://" in name


def find_remote(url: str) -> list[str]:
    """Return the URLs that match a pattern, sorted, or the URL itself; the web has no patterns.

    Raises: DataError where the store cannot be reached, or nothing matches.
    """
    if _is_web(url) or not glob.has_magic(url):
        return [url]
    store, path = _store(url)
    try:
        found = sorted(store.unstrip_protocol(match) for match in store.glob(path))
    except Exception as error:  # each store has exceptions of its own
        raise _unreachable(url, error) from error
    if not found:
        raise DataError(f"no file matches {url}")
    return found


def size_of(url: str) -> int | None:
    """Return the size of a file in bytes, if its store tells it.

    Raises: DataError where the file cannot be reached.
    """
    try:
        if _is_web(url):
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=SILENT_SECONDS) as answer:
                length = answer.headers.get("Content-Length")
            return int(length) if length else None
        store, path = _store(url)
        size = store.info(path).get("size")
    except DataError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise _unreachable(url, error) from error
    return size if isinstance(size, int) else None


@contextmanager
def fetched(url: str, scratch: Path, size: int | None) -> Iterator[Path]:
    """Yield a local copy of a file, which is deleted afterwards; its name ends as that of the URL.

    Raises: DataError where it cannot be fetched, or arrives with fewer bytes than ``size``; OSError where this disk is
        full.
    """
    copy = scratch / f"fetched-{Path(url).name}"
    try:
        with copy.open("wb") as target:
            _copy(url, target)
        if size is not None and copy.stat().st_size < size:
            raise DataError(
                f"{url}: {copy.stat().st_size:,} of {size:,} bytes arrived", hint="run the same command again"
            )
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _copy(url: str, target: Any) -> None:
    try:
        if _is_web(url):
            source = urllib.request.urlopen(url, timeout=SILENT_SECONDS)
        else:
            store, path = _store(url)
            source = store.open(path, "rb")
    except DataError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise _unreachable(url, error) from error
    with source:
        shutil.copyfileobj(_Told(url, source), target, 1 << 20)


class _Told:
    """A remote file whose errors name it, apart from those of the disk that it is copied to."""

    def __init__(self, url: str, source: Any) -> None:
        self._url, self._source = url, source

    def read(self, size: int = -1, /) -> bytes:
        try:
            return bytes(self._source.read(size))
        except Exception as error:  # each store has exceptions of its own
            raise _unreachable(self._url, error) from error


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _store(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"cannot open {url}: {error}", hint="install the package that the message names") from error
    except (ValueError, OSError) as error:
        raise _unreachable(url, error) from error
    return store, str(path)


def _unreachable(url: str, error: BaseException) -> DataError:
    said = str(error).removeprefix("<urlopen error ").removesuffix(">")
    reason = said.splitlines()[0] if said else type(error).__name__
    return DataError(
        f"cannot reach {url}: {reason}", "wanted a file that can be read", "check the address, the rights, the network"
    )
