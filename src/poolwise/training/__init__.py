"""A model and a batch schedule in, a trained model out: sentence-transformers' trainer, wrapped thinly."""

from poolwise.training.train import train_model

__all__ = ["train_model"]
