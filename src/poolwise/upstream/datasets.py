"""The settings of datasets, which it reads from the environment only once; checked against 5.2.0.

``datasets.config.HF_HUB_OFFLINE`` is a copy of huggingface_hub's. If it moves, ``hub.hub_access`` cannot stop
``load_dataset`` from contacting a hub that does not answer.
"""

from __future__ import annotations

import sys
from types import ModuleType


def loaded_settings() -> list[ModuleType]:
    """Return the module with the setting ``HF_HUB_OFFLINE``; an empty list if datasets is not imported yet."""
    return [sys.modules[name] for name in ("datasets.config",) if name in sys.modules]
