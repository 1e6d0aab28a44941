"""Screening: poolings tried on a frozen base, whose states are computed once, stored, and used to train heads."""

from poolwise.screening.capture import fill_store
from poolwise.screening.needs import Need, needs_of
from poolwise.screening.store import StateStore, StoreSpec, disk_bytes
from poolwise.screening.stored import StoredEncoder, build_stored_model, load_head, save_head

__all__ = [
    "Need",
    "StateStore",
    "StoreSpec",
    "StoredEncoder",
    "build_stored_model",
    "disk_bytes",
    "fill_store",
    "load_head",
    "needs_of",
    "save_head",
]
