"""A model and a batch schedule in, a trained model out: sentence-transformers' trainer, wrapped thinly."""

from poolwise.training.adapt_base import adaptation_training, build_adaptable, train_adaptation
from poolwise.training.train import train_model

__all__ = ["adaptation_training", "build_adaptable", "train_adaptation", "train_model"]
