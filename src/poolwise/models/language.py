"""A base with its LM head under bidirectional attention: built for adaptation and saved as an ordinary base."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from poolwise.base_dtypes import HeldDtype, Precision
from poolwise.design import Design
from poolwise.errors import ModelError
from poolwise.kernels.narrow import computed_in_fp32
from poolwise.kernels.precision import autocast
from poolwise.models.adapter import add_lora
from poolwise.models.backbone import Backbone, Method
from poolwise.models.bases import load_causal
from poolwise.models.merge import merge_adapters
from poolwise.records import ADAPTATION_FILE, Adaptation, save_record
from poolwise.storage.whole_files import whole_folder

DEFAULT_MASK = "_"
_READ = Design("mean", "bidirectional")
"""Only its attention is used; nothing is pooled."""
# Relative to the largest logit; the worst seen over all architectures with tiny models is 3e-7.
_TOLERANCE = 1e-4


class LanguageHead(nn.Module):
    """The LM head of a base: a linear layer from states to logits, scaled or capped in some architectures.

    Raises: ModelError when built, if the causal model returns other logits.
    """

    def __init__(self, causal: PreTrainedModel, precision: Precision) -> None:
        super().__init__()
        config = causal.config.get_text_config()
        self.linear = causal.get_output_embeddings()
        self.precision: Precision = precision
        self.divisor = float(getattr(config, "logits_scaling", None) or 1.0)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._prove(causal)

    def forward(self, states: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
        """Return the logits of the token after each state, in fp32."""
        with autocast(self.precision, states.device):
            logits = self.linear(states)
        logits = logits.float() / self.divisor
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    @torch.no_grad()
    def _prove(self, causal: PreTrainedModel) -> None:
        ids = torch.arange(8)[None] % causal.config.get_text_config().vocab_size
        causal.eval()
        precision, self.precision = self.precision, "fp32"
        with computed_in_fp32(causal):
            wanted = causal(input_ids=ids, use_cache=False).logits
            found = self(causal.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        self.precision = precision
        if not bool((found - wanted).abs().max() <= _TOLERANCE * wanted.abs().max()):
            raise ModelError(
                f"the LM head of {causal.config.model_type} is more than a linear layer, a scale and a cap",
                "wanted logits equal to those of the base's own model",
                "leave `adapt` out of the recipe, or adapt the base elsewhere and give its folder as base",
            )


class AdaptableBase:
    """A base that can be trained to predict masked tokens and then be saved as a base.

    Args:
        base: ``poolwise/nano``, ``poolwise/smollm2``, a folder, a GGUF file, or a hub id.
        seed: of the adapter's initial weights.
        method: "lora", or "full" for all weights.
        base_dtype: in which the weights are held, and later written.
        split_special_tokens: as in ``build_model``.
        mask_token: replaces masked tokens; None is the tokenizer's own, or ``_`` as in arXiv:2404.05961.
    Raises: ModelError if there is no LM head or mask token, or the architecture ignores the attention.
    """

    def __init__(
        self,
        base: str,
        *,
        seed: int,
        method: Method,
        lora_rank: int,
        lora_alpha: int,
        max_tokens: int,
        precision: Precision = "auto",
        base_dtype: HeldDtype = "fp32",
        mask_token: str | None = None,
        split_special_tokens: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.causal, self.tokenizer = load_causal(base, base_dtype)
        self._config = copy.deepcopy(self.causal.config)
        self._splits = self.tokenizer.split_special_tokens
        self.mask_token = mask_token or self.tokenizer.mask_token or DEFAULT_MASK
        self.mask_id = _id_of(self.mask_token, self.tokenizer, self.causal.config.get_text_config().vocab_size)
        decoder = self.causal.base_model
        head = LanguageHead(self.causal, precision)
        self.causal.requires_grad_(method == "full")
        if method == "lora":
            # No dropout: it would add randomness, and adaptation is short.
            add_lora(decoder, rank=lora_rank, alpha=lora_alpha, dropout=0.0, seed=seed)
        backbone = Backbone(
            decoder,
            self.tokenizer,
            design=_READ,
            base=base,
            method=method,
            max_tokens=max_tokens,
            precision=precision,
            base_dtype=base_dtype,
            split_special_tokens=split_special_tokens,
        )
        self.model = SentenceTransformer(modules=[backbone, head])
        """Backbone and head, in the form the trainer needs; its own forward is not used."""
        if gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})

    def save(self, folder: Path, adaptation: Adaptation) -> None:
        """Write an ordinary base with the adapter merged: weights in the dtype in which they were held, configuration,
        tokenizer. The write is atomic.

        Afterwards the object cannot be trained any more. A base loaded from the folder is causal, as every decoder is.
        """
        merge_adapters(self.causal)
        # The original configuration, before attention, kernels and the trainer's cache were set in it.
        self.causal.config = self._config
        self.tokenizer.split_special_tokens = self._splits  # as in the base; it is a setting of each model
        with whole_folder(folder) as partial:
            self.causal.cpu().save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)
            save_record(adaptation, partial / ADAPTATION_FILE)


def _id_of(token: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> int:
    ids = tokenizer(token, add_special_tokens=False, split_special_tokens=False)["input_ids"]
    is_unknown = ids == [tokenizer.unk_token_id] and token != tokenizer.unk_token
    if len(ids) != 1 or is_unknown or ids[0] >= vocab_size:
        raise ModelError(
            f"{token!r} is not one token of {tokenizer.name_or_path!r}",
            "wanted a single token with an embedding, to replace masked tokens",
            "set adapt.mask_token to one",
        )
    return int(ids[0])
