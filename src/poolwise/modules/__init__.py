"""Designs as sentence-transformers models: build, load, probe, inspect."""

from poolwise.modules.attention import AttentionProbe, check_attention, probe_attention
from poolwise.modules.backbone import Backbone
from poolwise.modules.base import EMBEDDED, base_shape, resolve_base, vocabulary_size
from poolwise.modules.build import build_model, design_of, is_poolwise_model, load_model, stored_prompts
from poolwise.modules.doctor import Check, diagnose
from poolwise.modules.fused_training import fused_training
from poolwise.modules.inspection import count_trainable, head_hash, head_parameters, init_hashes, layer_weights
from poolwise.modules.language import AdaptableBase, LanguageHead
from poolwise.modules.merge import merge_adapters, prepare_encoding
from poolwise.modules.pooling import Pooling
from poolwise.modules.precision import autocast, has_fast_bf16, uses_bf16
from poolwise.modules.seeds import derive_seed

__all__ = [
    "EMBEDDED",
    "AdaptableBase",
    "AttentionProbe",
    "Backbone",
    "Check",
    "LanguageHead",
    "Pooling",
    "autocast",
    "base_shape",
    "build_model",
    "check_attention",
    "count_trainable",
    "derive_seed",
    "design_of",
    "diagnose",
    "fused_training",
    "has_fast_bf16",
    "head_hash",
    "head_parameters",
    "init_hashes",
    "is_poolwise_model",
    "layer_weights",
    "load_model",
    "merge_adapters",
    "prepare_encoding",
    "probe_attention",
    "resolve_base",
    "stored_prompts",
    "uses_bf16",
    "vocabulary_size",
]
