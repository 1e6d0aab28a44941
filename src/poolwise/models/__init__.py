"""Designs as sentence-transformers models: build, load, save, probe and inspect them."""

from poolwise.models.attention import AttentionProbe, check_attention, probe_attention
from poolwise.models.backbone import Backbone
from poolwise.models.bases import base_origin, base_shape, pinned_base, prepare_base, resolve_base, vocabulary_size
from poolwise.models.build import build_model, design_of, trained_dimensions
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.inspection import count_trainable, head_hash, head_parameters, init_hashes, layer_weights
from poolwise.models.language import AdaptableBase, LanguageHead
from poolwise.models.load import load_any, load_model, stored_settings
from poolwise.models.merge import merge_adapters, prepare_encoding
from poolwise.models.pooling import Pooling
from poolwise.models.saved_folder import is_poolwise_model, own_folder
from poolwise.models.seeds import derive_seed
from poolwise.models.weighed import PoolingWeights
from poolwise.models.weighing import pooling_weights

__all__ = [
    "AdaptableBase",
    "AttentionProbe",
    "Backbone",
    "EmbeddingModel",
    "LanguageHead",
    "Pooling",
    "PoolingWeights",
    "base_origin",
    "base_shape",
    "build_model",
    "check_attention",
    "count_trainable",
    "derive_seed",
    "design_of",
    "head_hash",
    "head_parameters",
    "init_hashes",
    "is_poolwise_model",
    "layer_weights",
    "load_any",
    "load_model",
    "merge_adapters",
    "own_folder",
    "pinned_base",
    "pooling_weights",
    "prepare_base",
    "prepare_encoding",
    "probe_attention",
    "resolve_base",
    "stored_settings",
    "trained_dimensions",
    "vocabulary_size",
]
