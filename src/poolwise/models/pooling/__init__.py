"""Poolings, one file each; ``base`` has their contract and ``registry`` their names."""

from poolwise.models.pooling.base import Pooling
from poolwise.models.pooling.registry import POOLING_CLASSES, build_pooling

__all__ = ["POOLING_CLASSES", "Pooling", "build_pooling"]
