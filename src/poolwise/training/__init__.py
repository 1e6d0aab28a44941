"""Training of a model on a batch schedule: a thin wrapper around sentence-transformers' trainer."""

from poolwise.training.adapt_base import adaptation_training, build_adaptable, train_adaptation
from poolwise.training.train import shares_weights, train_model

__all__ = ["adaptation_training", "build_adaptable", "shares_weights", "train_adaptation", "train_model"]
