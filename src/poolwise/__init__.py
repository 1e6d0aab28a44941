"""poolwise: which pooling and which attention an LLM-based text-embedding model needs.

The names in ``__all__`` are the public API; nothing else is. Each is imported when it is first used, so that
``import poolwise`` is fast and does not import torch.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from poolwise.freed_memory import limit_arenas

if TYPE_CHECKING:
    from poolwise.api import compare, doctor, encode, encode_corpus, evaluate, run_screen, run_study, train
    from poolwise.config import Recipe, load_recipe
    from poolwise.design import Design, parse_design
    from poolwise.errors import ConfigError, DataError, EvalError, ModelError, PoolwiseError
    from poolwise.export import export_model, verify_export
    from poolwise.models import build_model, load_model, pooling_weights
    from poolwise.results import Comparison, StudyResults
    from poolwise.search import Index, build_index, open_index

__version__ = "0.2.0"

if "torch" not in sys.modules:
    # OpenMP reads it when torch is imported. A waiting thread would otherwise spin and take a core from others: on a
    # busy machine a training step then takes many times as long (benchmarks/busy.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# oneDNN keeps the code that it makes for each shape of a bf16 product, and torch keeps more in every thread: 1,024 of
# each by default. Texts of mixed length have so many shapes that these took more memory than the model. Fewer cost no
# time (docs/log.md). Both numbers are read at the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
limit_arenas()  # before there are more

_HOMES = {
    "build_model": "models",
    "load_model": "models",
    "pooling_weights": "models",
    "export_model": "export",
    "verify_export": "export",
    "encode": "api",
    "encode_corpus": "api",
    "train": "api",
    "evaluate": "api",
    "run_study": "api",
    "run_screen": "api",
    "compare": "api",
    "doctor": "api",
    "Index": "search",
    "build_index": "search",
    "open_index": "search",
    "Design": "design",
    "parse_design": "design",
    "Recipe": "config",
    "load_recipe": "config",
    "StudyResults": "results",
    "Comparison": "results",
    "PoolwiseError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "ModelError": "errors",
    "EvalError": "errors",
}

__all__ = [
    "Comparison",
    "ConfigError",
    "DataError",
    "Design",
    "EvalError",
    "Index",
    "ModelError",
    "PoolwiseError",
    "Recipe",
    "StudyResults",
    "__version__",
    "build_index",
    "build_model",
    "compare",
    "doctor",
    "encode",
    "encode_corpus",
    "evaluate",
    "export_model",
    "load_model",
    "load_recipe",
    "open_index",
    "parse_design",
    "pooling_weights",
    "run_screen",
    "run_study",
    "train",
    "verify_export",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'poolwise' has no attribute {name!r}")
    return getattr(import_module(f"poolwise.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
