"""The exceptions of poolwise: each message says what we got, what we wanted, and what to try."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MAX_SHOWN = 10
MOST_CHARACTERS = 6000
"""Of each part of a message: a value that is repeated in it may be a text of megabytes."""


class PoolwiseError(Exception):
    """An error that the user can fix. The command line prints it on one line and exits with 2.

    Args:
        got: what was found, with the bad value and its place.
        wanted: what was expected.
        hint: what to try next.
    """

    def __init__(self, got: str, wanted: str = "", hint: str = "") -> None:
        self.got, self.wanted, self.hint = (shortened(part, MOST_CHARACTERS) for part in (got, wanted, hint))
        super().__init__("; ".join(part for part in (self.got, self.wanted, self.hint) if part))


class ConfigError(PoolwiseError):
    """A recipe, an option or a command line is not valid or cannot be run."""


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Turn a failed import in the block into an error that names the extra. Raises: ConfigError."""
    try:
        yield
    except ImportError as missing:
        raise ConfigError(
            f"{what} needs the package {missing.name}", f"wanted the extra {extra}", f"pip install 'poolwise[{extra}]'"
        ) from missing


class DataError(PoolwiseError):
    """A training or evaluation file is missing, unreadable or inconsistent."""


class ModelError(PoolwiseError):
    """A base, an adapter or a saved model cannot be built, loaded or trusted."""


class NotFiniteError(ModelError):
    """A weight is NaN or infinite."""


class EvalError(PoolwiseError):
    """A task cannot be scored, or records cannot be compared."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the closest known name, or the list of known names."""
    options = sorted(set(known))
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(options)}"


def require_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise ConfigError where the value of a setting is none of the known ones."""
    if value not in known:
        raise ConfigError(f"{name} {value}", f"wanted {', '.join(known[:-1])} or {known[-1]}")


def collect(problems: Sequence[str], error: type[PoolwiseError], what: str, hint: str = "") -> None:
    """Raise one ``error`` with the number of problems and the first ten of them; do nothing if there are none."""
    if not problems:
        return
    shown = "\n".join(f"  {shortened(line, MOST_CHARACTERS // MAX_SHOWN)}" for line in problems[:MAX_SHOWN])
    more = f"\n  ... and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
    raise error(f"{what}: {len(problems)} problem(s)\n{shown}{more}", hint=hint)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device or the CPU is out of memory.

    torch's own class is detected by its name, so that torch need not be imported.
    """
    phrases = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "alloc_failed")
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_named or any(phrase in str(error).lower() for phrase in phrases)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error means that there is no room on a disk, also where a library raises its own class for it.

    Some repeat the system's words, safetensors its number; SQLite and torch's writer have words of their own.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(phrase in str(error) for phrase in _FULL_PHRASES)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_PHRASES = (
    *(f"os error {number}" for number in _FULL),
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT)),  # "File too large" is also what a server may answer
    "database or disk is full",
    "unexpected pos",
)


def explain(error: Exception) -> PoolwiseError | None:
    """Return an error as one that the user can fix; None if it is a bug in poolwise."""
    if isinstance(error, PoolwiseError):
        return error
    first = next(iter(str(error).splitlines()), type(error).__name__)
    if is_out_of_memory(error):
        return ModelError(
            f"out of memory: {first}",
            hint="lower eval.batch_size, train.mini_batch_size or max_tokens, or set train.gradient_checkpointing",
        )
    if is_disk_full(error):
        return DataError(
            f"the disk is full: {first}", hint="free some space, then run the same command again: it resumes"
        )
    if isinstance(error, OSError) and error.errno in _OF_PATHS:
        place = f"{shortened(str(error.filename), 120)}: " if error.filename else ""
        is_refused = error.errno in (errno.EACCES, errno.EPERM)
        return DataError(
            f"{place}{error.strerror or first}",
            hint=f"give another path{', or change the owner or the mode of that one' if is_refused else ''}",
        )
    if isinstance(error, RuntimeError) and first.startswith("Could not determine home directory"):
        return ConfigError(
            "a path begins with ~ and the name of a user that this machine does not know", hint="give the full path"
        )
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        near = error.object[max(0, error.start - 20) : error.start + 20]
        return DataError(
            f"a text has half a surrogate pair, which is no character: {near!a}", "wanted text that UTF-8 can hold"
        )
    return None


def unreadable(got: str, error: BaseException, wanted: str = "", hint: str = "") -> PoolwiseError:
    """Return the error for files of the user that another library cannot read, whatever it raises for them.

    For calls of that library alone: around code of ours it would call a bug a damaged file.

    Args:
        got: what cannot be read; the library's reason follows it.
    """
    if isinstance(error, PoolwiseError):
        return error
    if isinstance(error, Exception) and is_out_of_memory(error) and (known := explain(error)) is not None:
        return known
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "weights_only" in reason:  # torch says how to run what is in the file
        reason = "it is a pickle with more than tensors, which is not opened"
    return ModelError(f"{got}: {reason}", wanted, hint)


_OF_PATHS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
)
"""Errors of a path that the user gave, or of its disk. Not a missing file: a path that the user gave is looked for
before it is used, so a missing one may be a bug."""


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shortened(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters, the middle of a longer one left out."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[len(text) - most // 4 :]}"
