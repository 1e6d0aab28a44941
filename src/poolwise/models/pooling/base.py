"""The base class of all poolings, with their contract."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_model, save_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from torch import Tensor, nn

from poolwise.base_dtypes import Precision
from poolwise.design import Design
from poolwise.errors import ModelError
from poolwise.kernels.precision import autocast
from poolwise.kernels.reduction import widen
from poolwise.models.finite import require_finite
from poolwise.models.pooling.occlusion import occlusion_weights
from poolwise.models.saved_folder import local_folder
from poolwise.upstream.torch import NeverNarrowed

P = TypeVar("P", bound="Pooling")
WEIGHTS = "model.safetensors"
TokensRead = Literal["last", "mean", "weighted_mean", "all"]
WeightsKind = Literal["exact", "attention", "measured"]
"""Exact: the embedding is the weighted sum of the states. Attention: averaged over heads and queries. Measured: by
``occlusion_weights``."""


@torch.no_grad()
def start_as_isometry(weight: Float[Tensor, "W D"]) -> None:
    """Set a matrix to the identity if it is square, else to random orthonormal rows (or columns, if W > D).

    Where W >= D the product keeps every distance, so a short training does not first undo a random projection.
    """
    if weight.shape[0] == weight.shape[1]:
        nn.init.eye_(weight)
    else:
        nn.init.orthogonal_(weight)


class Pooling(NeverNarrowed, Module):
    """A module that turns token or layer states into one vector per text.

    Reads ``token_embeddings`` (B T D) and ``pooling_mask`` (B T), or ``layer_embeddings`` (B L D) if the pooling uses
    layers, and writes ``sentence_embedding`` (B D) in fp32.

    Law: the vector does not depend on the padding side, nor on other texts in the batch.
    Law: no value in a masked position changes the vector, not even NaN.
    Law: saving and loading keeps every bit.

    With ``dim=N`` in the design the vector is projected to N dimensions, unless the pooling has a width of its own.

    Weights keep their dtype when the model is cast to a narrower one: sentence-transformers casts a pooling to its
    backbone's dtype, and bf16 would round small updates away.
    """

    config_keys: ClassVar[tuple[str, ...]] = ("dim",)
    has_own_width: ClassVar[bool] = False
    """Whether the pooling itself makes vectors of the design's width, so that no projection follows."""
    dim: int
    projection: nn.Linear | None

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.projection = None
        self.precision: Precision = "fp32"

    @classmethod
    def from_design(cls: type[P], design: Design, dim: int, num_layers: int) -> P:
        """Return the pooling of a design for a base with ``num_layers`` layers of width ``dim``."""
        return cls(dim)

    @property
    def tokens_read(self) -> TokensRead:
        """The reduction of the last layer's tokens that determines the vector, or "all" if it depends on all tokens.

        Law: if a text's tokens are replaced by that reduction, as a single token, the vector is the same. This does not
        apply to poolings that use layers, because the backbone reduces their states.
        """
        return "all"

    @property
    def weights_kind(self) -> WeightsKind:
        """What ``token_weights`` or ``layer_weights`` returns."""
        return "measured"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return how much the embedding takes from each token's state, as ``weights_kind`` says.

        Law: rows sum to 1, no weight is negative, and tokens outside ``pooling_mask`` have weight 0.
        It does not apply to poolings that use layers: the backbone reduces their tokens, all with the same weights.
        """
        return occlusion_weights(self._embed_tokens, features["token_embeddings"], features["pooling_mask"].bool())

    def layer_weights(self, features: dict[str, Any]) -> Float[Tensor, "B S"] | None:
        """Return how much the embedding takes from each of the subset's layers; None if only the last one is used.

        Law: rows sum to 1, and no weight is negative.
        """
        return None

    def _embed_tokens(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B W"]:
        return self.embed({"token_embeddings": states, "pooling_mask": mask, "attention_mask": mask})

    @abstractmethod
    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return one vector per text, in fp32."""

    def project(self, width: int) -> None:
        """Add a trained linear map from D to ``width`` dimensions, which starts as ``start_as_isometry`` says."""
        self.projection = nn.Linear(self.dim, width, bias=False)
        start_as_isometry(self.projection.weight)

    def forward(self, features: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """Return the features with ``sentence_embedding`` added."""
        with autocast(self.precision, features["attention_mask"].device):
            embedded = self.embed(features)
        return {**features, "sentence_embedding": widen(embedded)}

    def embed(self, features: dict[str, Any]) -> Float[Tensor, "B W"]:
        """Return one vector per text, projected if the design has a ``dim``."""
        pooled = self.pool(features)
        return pooled if self.projection is None else self.projection(pooled)

    def get_embedding_dimension(self) -> int:
        """Return the width of the vectors: D, or that of the projection."""
        return self.dim if self.projection is None else self.projection.out_features

    def get_config_dict(self) -> dict[str, Any]:
        """Return the content of the configuration file: ``config_keys`` and, with a projection, its width."""
        config: dict[str, Any] = super().get_config_dict()
        return config if self.projection is None else {**config, "projected": self.projection.out_features}

    def on_model_ready(self, model: SentenceTransformer) -> None:
        """Take over the precision of the backbone."""
        self.precision = getattr(model[0], "precision", "fp32")

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Write the configuration and, if the pooling has any, the weights."""
        self.save_config(output_path)
        if any(True for _ in self.parameters()):
            save_model(self, str(Path(output_path) / WEIGHTS))

    @classmethod
    def load(cls: type[P], model_name_or_path: str, subfolder: str = "", **options: Any) -> P:
        """Return the pooling saved in a folder.

        Raises: ModelError if its files are missing or inconsistent.
        """
        folder = local_folder(model_name_or_path, **options) / subfolder
        state = torch.get_rng_state()
        try:
            config = cls.load_config(str(folder))
            width = config.pop("projected", None)
            pooling = cls(**config)
            if width is not None:
                pooling.project(width)
            if any(True for _ in pooling.parameters()):
                load_model(pooling, folder / WEIGHTS)
        except Exception as error:
            raise ModelError(f"cannot read the pooling in {folder}: {error}", hint="save the model again") from error
        finally:
            torch.set_rng_state(state)
        require_finite(pooling.named_parameters(), f"the pooling in {folder}")
        return pooling
