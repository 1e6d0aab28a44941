"""A whole model as one module from token ids to embeddings, for export: plain operations, one dtype, no packing."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from poolwise.kernels.reduction import landmarks, without_first
from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.families import EAGER
from poolwise.models.merge import merged_copy
from poolwise.models.pooling import Pooling


class EmbeddingGraph(nn.Module):
    """The modules of a model, adapter merged, in fp32 on the CPU; which tokens are pooled is computed inside.

    Attention is computed by transformers' eager implementation. It subtracts a large number from masked scores, where
    the fused one writes minus infinity: a row in which everything is masked, such as a padding token's before the text,
    then stays finite in every runtime.

    Law: the embeddings equal those of the model, up to rounding, on either padding side.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        copied = merged_copy(nn.Sequential(*model.children())).requires_grad_(False).float().cpu()
        backbone, pooling, _ = copied.children()
        assert isinstance(backbone, Backbone) and isinstance(pooling, Pooling)
        backbone.use_kernel(EAGER)
        if backbone.tokens.soft_ids:
            backbone.lend_soft_tokens(pooling.soft)
        self.backbone, self.pooling = backbone, pooling
        self.width: int | None = model.truncate_dim
        self.eval()

    @property
    def counts_prompt(self) -> bool:
        """Whether an embedding depends on how many tokens belong to the prompt; then ``num_prompt`` is an input."""
        return counts_prompt(self.backbone)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        num_prompt: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B W"]:
        """Return unit vectors.

        Args:
            num_prompt: how many first tokens of each text belong to its prompt; 0 for none.
        """
        mask = attention_mask.bool()
        place = attention_mask.cumsum(dim=1) - 1
        pooled = mask & (place >= self._num_skipped(attention_mask, num_prompt)[:, None])
        if self.backbone.tokens.landmark_every is not None and num_prompt is not None:
            before = torch.where(num_prompt > 0, num_prompt, len(self.backbone.tokens.prefix))
            pooled = landmarks(mask, before, self.backbone.tokens.landmark_every)
        if self.backbone.skips_bos:
            pooled = pooled & without_first(mask)
        prompt: Bool[Tensor, "B T"] | None = None
        if self.backbone.attention_mode.on_prompt and num_prompt is not None:
            prompt = mask & (place < num_prompt[:, None])
        states = self.backbone.read_padded(input_ids, attention_mask, pooled, prompt)
        vectors = self.pooling.embed({"attention_mask": attention_mask, "pooling_mask": pooled, **states})
        vectors = functional.normalize(vectors, p=2, dim=1)
        return vectors if self.width is None else vectors[:, : self.width]

    def _num_skipped(self, mask: Int[Tensor, "B T"], num_prompt: Int[Tensor, " B"] | None) -> Int[Tensor, " B"]:
        """Return how many first tokens of each text are read but not pooled; the same as ``Backbone.arrange``."""
        lengths, tokens = mask.sum(dim=1), self.backbone.tokens
        if tokens.soft_ids:
            return lengths - len(tokens.soft_ids)
        if num_prompt is not None and tokens.echoes:
            before = torch.where(num_prompt > 0, num_prompt, len(tokens.prefix))
            return before + (lengths - 1 - before) // 2
        if num_prompt is not None and self.backbone.skips_prompt:
            return num_prompt
        return torch.zeros_like(lengths)


def counts_prompt(backbone: Backbone) -> bool:
    """Return whether embeddings depend on how many tokens of a text belong to its prompt."""
    tokens = backbone.tokens
    by_tokens = tokens.echoes or tokens.landmark_every is not None
    return backbone.skips_prompt or by_tokens or backbone.attention_mode.on_prompt
