"""Texts to vectors as fast as the machine allows: batches of equal work, tokenised while the model computes."""

from poolwise.encoding.batches import plan_batches
from poolwise.encoding.encode import encode_texts, is_readable

__all__ = ["encode_texts", "is_readable", "plan_batches"]
