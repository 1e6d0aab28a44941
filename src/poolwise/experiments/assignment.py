"""Which arm a user gets: always the same one, from a keyed hash of the key."""

from __future__ import annotations

import hashlib

from poolwise.experiments.design import Arm, Design

_BYTES = 8


def user_of(key: str, design: Design) -> str:
    """Return the name of a user in the log: a hash of the key with the design's salt, 16 digits.

    The key itself is never written.
    """
    return _hashed(f"user:{key}", design).hex()


def assign(key: str, design: Design) -> Arm:
    """Return the arm of a user's key.

    Law: the same key always gets the same arm; over keys, arm k is drawn with probability share_k / sum of shares, to
    2**-64; experiments with other salts are independent of it.
    """
    total = sum(arm.share for arm in design.arms)
    # The number is below total, and exact: no rounding moves the borders between arms.
    place = (int.from_bytes(_hashed(f"arm:{key}", design)) * total) >> (8 * _BYTES)
    for arm in design.arms:
        place -= arm.share
        if place < 0:
            return arm
    raise AssertionError("unreachable: the place is below the sum of the shares")


def _hashed(text: str, design: Design) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, digest_size=_BYTES, key=bytes.fromhex(design.salt)).digest()
