"""poolwise: which pooling and which attention an LLM-based text-embedding model needs."""

from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError, DataError, EvalError, ModelError, PoolwiseError

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "Design",
    "EvalError",
    "ModelError",
    "PoolwiseError",
    "__version__",
    "parse_design",
]
