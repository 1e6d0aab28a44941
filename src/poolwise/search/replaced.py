"""What a build finds in its folder: an index of the same corpus and settings is replaced, any other is kept."""

from __future__ import annotations

from pathlib import Path

from poolwise.corpus.manifest import differences
from poolwise.errors import ConfigError, EvalError
from poolwise.records import load_record
from poolwise.search.backends import build_settings, find_backend
from poolwise.search.backends.databases import shown_url
from poolwise.search.index_record import INDEX, IndexRecord
from poolwise.storage.new_folders import held_names

_COMPARED = ("dim", "dtype", "similarity", "query_prompt", "has_words")
"""Fields of the record, beside corpora, model, backend and settings, that an update leaves as they are."""


def require_own(out: Path, *corpora: Path) -> None:
    """Raise ConfigError where ``out`` holds something that is not an index, or lies in a corpus or around it."""
    for corpus in corpora:
        if out.resolve() == corpus.resolve() or corpus.resolve() in out.resolve().parents:
            raise ConfigError(f"--out {out} lies in the corpus {corpus}", "wanted a folder of its own")
    if not (out / INDEX).is_file() and (other := held_names(out)):
        raise ConfigError(
            f"--out {out} holds {', '.join(other[:5])}", "wanted a new folder, or one that poolwise index wrote"
        )


def present_index(out: Path) -> IndexRecord | None:
    """Return the record of the index in a folder; None where there is none, or it cannot be read."""
    try:
        return load_record(IndexRecord, out / INDEX) if (out / INDEX).is_file() else None
    except EvalError:
        return None


def require_same_index(out: Path, present: IndexRecord, new: IndexRecord) -> None:
    """Raise ConfigError where an index is of another corpus, model or settings; the message names what differs.

    A backend that was chosen by the number of rows may change with them.
    """
    paths = [
        ("corpus", present.corpus, new.corpus),
        ("rescore", present.rescore and present.rescore.corpus, new.rescore and new.rescore.corpus),
    ]
    differing = [f"{name} {old or 'none'} there, {now or 'none'} now" for name, old, now in paths if old != now]
    differing += differences(present.model, new.model)
    differing += differences(present, new, set(IndexRecord.model_fields) - set(_COMPARED))
    if present.backend != new.backend:
        differing += [f"backend {present.backend} there, {new.backend} now"] if present.asked != new.asked else []
    else:
        old = present.settings
        differing += [
            f"{name} {_shown(old.get(name))} there, {_shown(value)} now"
            for name, value in new.settings.items()
            if value != old.get(name)
        ]
    if differing:
        raise ConfigError(
            f"{out} holds an index of {present.num_rows:,} rows of {present.corpus}: {'; '.join(differing)}",
            "wanted the same corpus, model and settings, to update it",
            "give another --out, or --replace to replace it",
        )


def _shown(value: object) -> str:
    """Return the value of a setting as it may be printed: a URL without its password."""
    return repr(shown_url(value) if isinstance(value, str) else value)


def discard(record: IndexRecord) -> None:
    """Delete what an index that was replaced has outside its folder."""
    backend = find_backend(record.backend)
    backend.discard(record.name, build_settings(backend, record.settings))
