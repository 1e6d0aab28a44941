"""Tokenizers of equal vocabularies share one vocabulary in a process.

tokenizers 0.23 keeps, for every vocabulary object and in every thread, the tokens of up to 10,000 words, and frees them
when the thread ends, not when the tokenizer does. A process that loads a base again and again, such as one that runs
studies or a server that reloads its models, would grow by some MiB each time.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from typing import Any, TypeVar

Tokenizer = TypeVar("Tokenizer")

MOST_KEPT = 16
"""Number of vocabularies that a process keeps for tokenizers to come; the one used longest ago goes first."""

_kept: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()


def share_vocabulary(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer after giving it the vocabulary that an earlier one of the same content has.

    Its vocabulary must not be changed in place afterwards. Added tokens, truncation and padding stay its own. A
    tokenizer that is not of the tokenizers library is not changed.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    model = getattr(backend, "model", None)
    if not hasattr(model, "__getstate__") or not isinstance(state := model.__getstate__(), bytes):
        return tokenizer
    key = hashlib.sha256(state).hexdigest()
    with _lock:
        backend.model = _kept.setdefault(key, model)
        _kept.move_to_end(key)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return tokenizer


def own_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of a tokenizer for another thread: encoding sets truncation and padding of the one it uses."""
    return share_vocabulary(copy.deepcopy(tokenizer))
