"""Models prepared for encoding are the models that were trained."""

import pytest
import torch
from tiny_models import TEXTS, save_tiny_base

from poolwise.modules import build_model, merge_adapters, prepare_encoding
