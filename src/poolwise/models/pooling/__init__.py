"""One file per pooling; the contract is in ``base``, the names in ``registry``."""

from poolwise.models.pooling.base import Pooling
from poolwise.models.pooling.registry import POOLING_CLASSES, build_pooling

__all__ = ["POOLING_CLASSES", "Pooling", "build_pooling"]
