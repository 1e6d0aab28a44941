"""Texts to vectors as fast as the machine allows: batches of equal work, tokenised while the model computes."""

from poolwise.encoding.encoder import Embeddings, ModelEncoder, RandomEncoder

__all__ = ["Embeddings", "ModelEncoder", "RandomEncoder"]
