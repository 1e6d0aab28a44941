"""datasets' settings, which it reads once from the environment; read in 5.2.0.

``datasets.config.HF_HUB_OFFLINE`` is a copy of huggingface_hub's. If it moves, ``hub.hub_access`` cannot keep
``load_dataset`` from asking a hub that does not answer.
"""

from __future__ import annotations

import sys
from types import ModuleType


def loaded_settings() -> list[ModuleType]:
    """Return the module that holds the setting ``HF_HUB_OFFLINE``, or nothing where datasets is not imported yet."""
    return [sys.modules[name] for name in ("datasets.config",) if name in sys.modules]
