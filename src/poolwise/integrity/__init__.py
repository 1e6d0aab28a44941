"""Checks any folder that poolwise wrote: are its files as they were written, is one missing, which belong to nobody."""

from poolwise.integrity.kinds import verify_folder
from poolwise.integrity.verified import Verified

__all__ = ["Verified", "verify_folder"]
