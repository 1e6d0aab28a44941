"""Encoding: texts to embeddings, with every text read once."""

from poolwise.encoding.encoder import Embeddings, ModelEncoder, RandomEncoder, TruncatedEncoder

__all__ = ["Embeddings", "ModelEncoder", "RandomEncoder", "TruncatedEncoder"]
