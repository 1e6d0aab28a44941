"""One file per pooling; the contract is in ``base``, the names in ``registry``."""

from poolwise.modules.pooling.base import Pooling
from poolwise.modules.pooling.registry import POOLING_CLASSES, build_pooling

__all__ = ["POOLING_CLASSES", "Pooling", "build_pooling"]
