"""Serving of models over HTTP, with the APIs of OpenAI and Cohere (``poolwise serve``)."""

from poolwise.serving.app import create_app
from poolwise.serving.context import Context, abandoned, context_of
from poolwise.serving.http_errors import HttpProblem
from poolwise.serving.served_experiment import ServedExperiment
from poolwise.serving.served_model import Embedded, ServedModel
from poolwise.serving.settings import ServeSettings

__all__ = [
    "Context",
    "Embedded",
    "HttpProblem",
    "ServeSettings",
    "ServedExperiment",
    "ServedModel",
    "abandoned",
    "context_of",
    "create_app",
]
