"""The first module of a model, tokenizer and decoder: texts to token states and, if needed, one state per layer."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from poolwise.attentions import Attention, AttentionMode, parse_attention
from poolwise.base_dtypes import HeldDtype, Precision
from poolwise.design import POOLINGS, Design, parse_design
from poolwise.errors import ModelError
from poolwise.kernels.final_layer import FinalLayer
from poolwise.kernels.layers import decoder_layers, layer_states
from poolwise.kernels.masks import adds_masks, prefix_mask
from poolwise.kernels.narrow import is_narrow, token_inputs
from poolwise.kernels.packing import (
    PackedReduction,
    Packing,
    forward_packed,
    longest_packable,
    pack_batch,
    use_packing,
)
from poolwise.kernels.precision import autocast, uses_bf16
from poolwise.kernels.reduction import reduce_tokens, widen, without_first
from poolwise.kernels.varlen import has_varlen
from poolwise.models.adapter import load_adapter, save_adapter
from poolwise.models.attention import AttentionProbe, check_attention, set_attention
from poolwise.models.backbone_files import add_settings, read_config, refuse_options, require_versions
from poolwise.models.base_dtype import held_when_loaded
from poolwise.models.bases import base_fingerprint, load_base
from poolwise.models.families import (
    EAGER,
    eager_note,
    refuse_prompt_attention,
    say_eager,
)
from poolwise.models.saved_base import base_record, find_base, name_base
from poolwise.models.saved_folder import local_folder
from poolwise.models.tokens import PaddingSide, TextTokens
from poolwise.upstream.transformers import attention_in_use

Method = Literal["lora", "frozen", "full"]
MIN_TOKENS = 4


class Backbone(InputModule):
    """A decoder-only base as a sentence-transformers input module: it tokenises texts and returns token states.

    It also returns one state per layer if ``layer_tokens`` is "last" or "mean"; None if the design uses no layers.

    Args:
        model: the base, with its adapter if it has one; its attention is set here.
        base: where it is, as ``pinned_base`` returns it.
        base_name: what saved models call it; None derives it from ``base``.
        max_tokens: texts are truncated to this many tokens, EOS included; with ``echo`` a row may be twice as long, and
            trained tokens and landmarks are added.
        padding_side: "right" or "left"; embeddings do not depend on it.
        base_dtype: the dtype that the base's weights were rounded to; ``load`` rounds to it again.
        ending: the ids that end every text; None is EOS.
        split_special_tokens: as in ``TextTokens``; None keeps the tokenizer's own setting.
    Raises: ModelError for a base without EOS, a base that does not support the attention, or ``max_tokens`` beyond its
        positions.
    """

    config_file_name = "poolwise.json"
    config_keys = ("design", "base", "method", "max_tokens", "padding_side", "eos_id")

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        design: Design,
        base: str,
        method: Method = "lora",
        max_tokens: int = 256,
        precision: Precision = "auto",
        padding_side: PaddingSide = "right",
        base_dtype: HeldDtype = "fp32",
        base_name: str | None = None,
        ending: Sequence[int] | None = None,
        split_special_tokens: bool | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.tokens = TextTokens(
            tokenizer,
            model.config.vocab_size,
            echoes=design.echoes,
            num_soft=design.num_soft_tokens,
            landmark_every=design.landmark_every,
            ending=ending,
            split_special_tokens=split_special_tokens,
        )
        self.design = str(design)
        self.base = base
        self.base_name = base_name
        self.method = method
        self.base_dtype = base_dtype
        self.precision = precision
        self.padding_side: PaddingSide = padding_side
        self.longest_packable = longest_packable(model)
        self.max_seq_length = max_tokens
        uses_layers = POOLINGS[design.pooling].uses_layers
        self.layer_tokens = str(design.option("tokens")) if uses_layers else None
        self.skips_prompt = design.skips_prompt
        self.skips_bos = design.skips_bos
        self.is_prepared = False
        """Whether it was prepared for encoding in place; then it cannot be trained or saved any more."""
        self.matryoshka: tuple[int, ...] = ()
        """The dimensions that were trained as embeddings of their own, the full width among them; empty: the width."""
        self.probe: AttentionProbe | None = None
        """The result of the attention probe when the model was built or loaded."""
        self.attention_kernel = ""
        """``eager`` if the usual kernel of its architecture ignored the attention; empty for the usual one."""
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        if self.attention_mode.on_prompt:
            refuse_prompt_attention(model.config)
        set_attention(model, self.attention)
        self.packs = use_packing(model)

    @property
    def attention(self) -> Attention:
        """The attention this model was built with."""
        return parse_design(self.design).attention

    @property
    def attention_mode(self) -> AttentionMode:
        """The attention this model was built with, as a value."""
        return parse_attention(self.attention)

    @property
    def precision(self) -> Precision:
        """The precision of matrix products; "auto" is "bf16" if the base's weights are narrower than fp32."""
        return "bf16" if self._precision == "auto" and is_narrow(self.model) else self._precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        if value == "fp32" and is_narrow(self.model):
            raise ModelError(
                f"precision is fp32, but the base's weights are held in {self.base_dtype}",
                "wanted auto or bf16; products in fp32 would need an fp32 copy of the weights",
                "build the model with base_dtype='fp32', or load it with precision='fp32'",
            )
        self._precision: Precision = value

    @property
    def eos_id(self) -> int:
        """The id that ends every text."""
        return self.tokens.eos_id

    @property
    def num_layers(self) -> int:
        """L, the number of decoder layers of the base."""
        return int(self.model.config.num_hidden_layers)

    @property
    def max_tokens(self) -> int:
        """The number of tokens a text is truncated to, EOS included; the same as ``max_seq_length``."""
        return self.max_seq_length

    @property
    def max_seq_length(self) -> int:
        """The number of tokens a text is truncated to, EOS included; sentence-transformers' name."""
        return self._max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        half = "half " if self.tokens.echoes else ""
        limits = {f"{half}the positions": getattr(self.model.config, "max_position_embeddings", None)}
        if self.attention_mode.is_partial:
            # transformers counts a window differently for bidirectional layers, so the two kinds cannot be mixed.
            limits[f"under {self.attention} attention {half}the sliding window"] = self.longest_packable
        most = {name: self.tokens.most_tokens(limit) if limit else value for name, limit in limits.items()}
        name, limit = min(most.items(), key=lambda pair: pair[1])
        if not MIN_TOKENS <= value <= limit:
            less = f" less {len(soft)} trained tokens" if (soft := self.tokens.soft_ids) else ""
            less = " less the landmarks" if self.tokens.landmark_every is not None else less
            raise ModelError(
                f"max_tokens is {value}",
                f"wanted {MIN_TOKENS} to {limit}, {name} of base {self.base!r}{less}",
                "set max_tokens to a value in this range",
            )
        self._max_tokens = value

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers of the base."""
        known: nn.ModuleList | None = self.__dict__.get("_known_layers")
        return known if known is not None else decoder_layers(self.model)

    def keep_layers(self) -> None:
        """Find the decoder layers once and keep them; the list must not be replaced afterwards."""
        self.__dict__["_known_layers"] = decoder_layers(self.model)  # not registered as a second submodule

    def get_embedding_dimension(self) -> int:
        """Return D, the width of the token states."""
        return int(self.model.config.hidden_size)

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        max_length: int | None = None,
        **_kwargs: Any,
    ) -> dict[str, Int[Tensor, "B T"]]:
        """Return ``input_ids``, ``attention_mask`` and ``pooling_mask`` of ``prompt + text`` for each text.

        If the attention depends on the prompt, ``prompt_mask`` marks the prompt's tokens.

        Args:
            max_length: truncates to fewer tokens than the model's own ``max_tokens``.
        Raises: DataError if an input is not a text.
        """
        limit = min(max_length or self.max_tokens, self.max_tokens)
        rows, num_prompt = self.tokens.encode(list(inputs), prompt or "", limit)
        return self.arrange(rows, num_prompt)

    def arrange(self, rows: Sequence[Sequence[int]], num_prompt: Sequence[int]) -> dict[str, Int[Tensor, "B T"]]:
        """Return the features of tokenised texts; the first ``num_prompt`` ids of each belong to the prompt."""
        skipped = num_prompt if self.skips_prompt else [0] * len(rows)
        if self.tokens.echoes:
            counts = zip(map(len, rows), num_prompt, strict=True)
            skipped = [self.tokens.num_before_echo(length, count) for length, count in counts]
        if self.tokens.soft_ids:
            skipped = [len(row) - len(self.tokens.soft_ids) for row in rows]
        features = self.tokens.pad(rows, skipped, self.padding_side)
        if self.tokens.landmark_every is not None:
            features["pooling_mask"] = self.tokens.landmark_mask(features["attention_mask"], num_prompt)
        if self.skips_bos:
            features["pooling_mask"] *= without_first(features["attention_mask"].bool())
        if self.attention_mode.on_prompt:
            text = self.tokens.pad(rows, num_prompt, self.padding_side)["pooling_mask"]
            features["prompt_mask"] = features["attention_mask"] - text
        return features

    def forward(self, features: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """Return the features with ``token_embeddings`` (B T D) and, if the design uses layers, ``layer_embeddings``
        (B L D).

        Layer L is the last hidden state, after the final norm; earlier layers are the decoder's unnormalised states.

        A ``packing`` among the features, as ``pack`` returns it, is used as given. If it has ``last_only``, only the
        last token's state is returned (B 1 D), with a matching ``pooling_mask``.

        Law: padding columns on either side, or other texts in the batch, do not change the state of a real token.
        """
        mask = features["attention_mask"]
        pooled = features.get("pooling_mask", mask).bool()
        packing, ids = features.get("packing") or self.pack(features, mask.device), features["input_ids"]
        with autocast(self.precision, mask.device):
            if packing is None:
                read = self.read_padded(ids, mask, pooled, self._prompt(features))
            else:
                read = self._read_packed(ids, packing)
        return {**features, "pooling_mask": pooled, **read}

    def lend_soft_tokens(self, soft: nn.Parameter) -> None:
        """Take the trained differences between EOS and the tokens after it (K D), which the pooling owns."""
        self.__dict__["_soft"] = soft  # not registered: it is a parameter of the pooling alone

    @property
    def soft_tokens(self) -> nn.Parameter | None:
        """The trained differences that ``lend_soft_tokens`` took; None without trained tokens."""
        found: nn.Parameter | None = self.__dict__.get("_soft")
        return found

    def _inputs(self, ids: Int[Tensor, "B T"]) -> dict[str, Tensor]:
        """Return ids as the model takes them, or their embeddings if some of them are trained tokens."""
        if (soft := self.soft_tokens) is None:
            return token_inputs(self.model, ids)
        is_soft = ids >= self.tokens.vocab_size
        known: Tensor = self.model.get_input_embeddings()(torch.where(is_soft, self.eos_id, ids))
        if is_narrow(self.model):
            known = known.float()
        difference = soft[(ids - self.tokens.vocab_size).clamp(min=0)].to(known.dtype)
        return {"inputs_embeds": known + torch.where(is_soft[..., None], difference, 0.0)}

    def pack(self, features: dict[str, Any], device: torch.device, *, last_only: bool = False) -> Packing | None:
        """Return the packing of a batch; None if it will be read with padding.

        Args:
            features: of the batch, on any device.
            device: where the batch will be read.
            last_only: only each text's last token is pooled; the last layer of a prepared model computes no others.
        """
        mask = features["attention_mask"]
        if not (self.packs_on(device) and self._can_pack(mask)):
            return None
        return pack_batch(
            mask.bool(),
            self._prompt(features),
            pooled=features.get("pooling_mask", mask).bool(),
            last_only=last_only and isinstance(self.layers[-1], FinalLayer),
            device=device,
        )

    def packs_on(self, device: torch.device) -> bool:
        """Return whether batches are read without padding on this device.

        On CUDA this needs the varlen kernel, which runs in bf16: one call per length, as on a CPU, would be slower than
        padding there.
        """
        return self.packs and (device.type != "cuda" or (uses_bf16(self.precision, device) and has_varlen()))

    def _prompt(self, features: dict[str, Any]) -> Bool[Tensor, "B T"] | None:
        """Return which tokens belong to the prompt, if the attention depends on it; None if there are none."""
        prompt = features.get("prompt_mask") if self.attention_mode.on_prompt else None
        return prompt.bool() if prompt is not None and bool(prompt.any()) else None

    def _can_pack(self, mask: Int[Tensor, "B T"]) -> bool:
        return self.longest_packable is None or mask.shape[1] <= self.longest_packable

    def _read_packed(self, ids: Int[Tensor, "B T"], packing: Packing) -> dict[str, Tensor]:
        if self.layer_tokens is None:
            return self._token_states(forward_packed(self.model, ids, packing, self._inputs), packing)
        assert packing.pooled is not None
        reduce = PackedReduction(packing, packing.pooled, self.layer_tokens)
        layers = self.layers
        with layer_states(layers, lambda states: reduce(states[0])) as found:
            last = forward_packed(self.model, ids, packing, self._inputs)
        tokens = self._token_states(last, packing)
        final = widen(tokens["token_embeddings"][:, 0]) if packing.last_only else reduce(last)
        ordered = [found[number] for number in range(1, len(layers))]
        return {**tokens, "layer_embeddings": torch.stack([*ordered, final], dim=1)}

    def _token_states(self, states: Float[Tensor, "M D"], packing: Packing) -> dict[str, Tensor]:
        """Return the states in batch order: of all tokens, or only of each text's last."""
        if not packing.last_only:
            return {"token_embeddings": packing.unpack(states)}
        tokens = states[packing.order.argsort()][:, None]
        return {"token_embeddings": tokens, "pooling_mask": torch.ones_like(tokens[..., 0], dtype=torch.bool)}

    def read_padded(
        self,
        ids: Int[Tensor, "B T"],
        mask: Int[Tensor, "B T"],
        pooled: Bool[Tensor, "B T"],
        prompt: Bool[Tensor, "B T"] | None,
    ) -> dict[str, Float[Tensor, "B _ D"]]:
        """Return the states of a padded batch: reference implementation, and used if packing is not supported."""
        if self.layer_tokens is None:
            return {"token_embeddings": self._last_states(ids, mask, prompt)}
        reduce = partial(reduce_tokens, mask=pooled, tokens=self.layer_tokens)
        layers = self.layers
        with layer_states(layers, reduce) as states:
            last = self._last_states(ids, mask, prompt)
        ordered = [states[number] for number in range(1, len(layers))]
        return {"token_embeddings": last, "layer_embeddings": torch.stack([*ordered, reduce(last)], dim=1)}

    def _last_states(
        self, ids: Int[Tensor, "B T"], mask: Int[Tensor, "B T"], prompt: Bool[Tensor, "B T"] | None
    ) -> Float[Tensor, "B T D"]:
        positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if self.takes_positions else {}
        seen = mask
        if prompt is not None:
            # transformers passes a four-dimensional mask on to the layers unchanged.
            seen = prefix_mask(mask.bool(), prompt, is_added=adds_masks(self.model.config))
        output = self.model(**self._inputs(ids), attention_mask=seen, use_cache=False, **positions)
        return output.last_hidden_state

    def on_model_ready(self, model: SentenceTransformer) -> None:
        """Set the attention again and verify it with the probe; called when a model is built or loaded.

        If a fused attention kernel ignores the attention, as sdpa does in some architectures, eager attention is used.
        """
        set_attention(self.model, self.attention)
        try:
            self.probe = check_attention(model)
        except ModelError:
            if attention_in_use(self.model.config) == EAGER:
                raise
            before = attention_in_use(self.model.config)
            self.use_kernel(EAGER)
            try:
                self.probe = check_attention(model)
            except ModelError:
                self.use_kernel(before)
                raise
            self.attention_kernel = EAGER
            say_eager(self.model.config.model_type, self.attention)

    def use_kernel(self, kernel: str) -> None:
        """Compute attention with another implementation of transformers, such as ``eager``; the attention stays."""
        self.model.set_attn_implementation(kernel)
        self.packs = kernel != EAGER and use_packing(self.model)
        set_attention(self.model, self.attention)

    @property
    def notes(self) -> list[str]:
        """What a reader of its results should know about how it computes; empty if nothing is unusual."""
        return [eager_note(self.model.config.model_type, self.attention)] if self.attention_kernel else []

    def get_config_dict(self) -> dict[str, Any]:
        """Return the content of the configuration file, with a hash of the base that is checked at load."""
        fingerprint = None if self.method == "full" else base_fingerprint(self.base)
        held = {} if self.base_dtype == "fp32" else {"base_dtype": self.base_dtype}
        named = {"base": base_record(self.base, Path(), self.base_name)["base"]}
        ending = {} if self.tokens.ends_in_eos else {"ending": self.tokens.ending}
        split = {"split_special_tokens": True} if self.tokens.splits_special else {}
        return {**super().get_config_dict(), **named, "base_fingerprint": fingerprint, **held, **ending, **split}

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Write the adapter and a reference to the base, or all weights and the tokenizer after full training."""
        folder = Path(output_path)
        self.save_config(output_path)
        if self.method != "full":
            self.name_base_in(folder, folder)
        if self.matryoshka:
            add_settings(folder / self.config_file_name, {"matryoshka": list(self.matryoshka)})
        if self.method == "lora":
            save_adapter(self.model, folder, base_record(self.base, folder, self.base_name)["base"])
        elif self.method == "full":
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        require_versions(folder / "config_sentence_transformers.json")

    def name_base_in(self, folder: Path, final: Path) -> None:
        """Name the base in the configuration that ``save`` wrote into ``folder``, which will be moved to ``final``."""
        name_base(folder, self.base, final, self.base_name)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        base: str | None = None,
        precision: Precision = "auto",
        device: str | None = None,
        **options: Any,
    ) -> Backbone:
        """Return the backbone saved in a folder, with its attention set again.

        Weights are rounded to the dtype in which the base was held in training, and held in it if products are in bf16
        here; otherwise they are widened to fp32, with the same values.

        Args:
            base: where the base is now; None means in the model, where it was when the model was saved, or on the hub.
            device: where it will compute; None is a GPU if there is one.
            options: the options that sentence-transformers passes to every module.
        Raises: ModelError if files are missing, or the base is missing or not the one the model was trained on;
            ConfigError for options that poolwise does not support, or 4-bit weights on a device without them.
        """
        refuse_options(options)
        folder = local_folder(model_name_or_path, **options) / subfolder
        config = read_config(folder / cls.config_file_name, {*cls.config_keys, "base_fingerprint"})
        method, name = config["method"], find_base(config, folder, base)
        dtype: HeldDtype = config.get("base_dtype", "fp32")
        held = held_when_loaded(dtype, precision, device)
        model, tokenizer = load_base(str(folder) if method == "full" else name, dtype, device)
        if held == "fp32":
            model.float()
        if method == "lora":
            load_adapter(model, folder)
        else:
            model.requires_grad_(method == "full")
        loaded = cls(
            model,
            tokenizer,
            design=parse_design(config["design"]),
            base=name,
            method=method,
            max_tokens=config["max_tokens"],
            padding_side=config["padding_side"],
            precision=precision,
            base_dtype=dtype,
            base_name=None if Path(config["base"]).is_absolute() else config["base"],
            ending=config.get("ending"),
            # Models of versions before 0.2 have no such key; they go on as they were trained.
            split_special_tokens=config.get("split_special_tokens"),
        )
        loaded.matryoshka = tuple(config.get("matryoshka", ()))
        return loaded
