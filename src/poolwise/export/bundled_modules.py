"""The two modules of one embedding model, complete in this file: ``Reader`` (texts to states) and ``Head`` (pooling).

It needs torch, transformers and sentence-transformers, and nothing else. It comes with models that poolwise exported:
``SentenceTransformer(FOLDER, trust_remote_code=True)`` copies and imports it. It is written for reading, not for speed.

Shapes: B texts, T tokens, L layers, S selected layers, N keys, D width of the base, K latents or queries, W width of
the embeddings.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule, Module
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

SOFT_TOKENS = "soft_tokens.safetensors"
WEIGHTS = "model.safetensors"


class Reader(InputModule):
    """Tokenises texts as prefix (BOS), prompt, text, EOS, and returns the states of a decoder.

    ``settings`` (``reader_config.json``): max_seq_length; prefix, eos_id and pad_id; is_causal; num_causal_layers, the
    first layers that are causal though the others are not; on_prompt, bidirectional among the prompt's tokens only;
    kernel, the implementation of attention; skip_prompt and skip_first, what is not pooled; echo, texts are read twice
    and the second occurrence is pooled; landmark_every, EOS is read after so many tokens of a text, and only these and
    the last EOS are pooled; layer_tokens, "last" or "mean" where a state of every layer is wanted.
    """

    config_file_name = "reader_config.json"
    save_in_root = True

    def __init__(self, model: Any, tokenizer: Any, settings: dict[str, Any], soft: Tensor | None = None) -> None:
        super().__init__()
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.max_seq_length: int = settings["max_seq_length"]
        # The differences between the embedding of EOS and those of the trained tokens after it (K D).
        self.soft = None if soft is None else nn.Parameter(soft)
        self.num_soft = 0 if soft is None else len(soft)
        for module in model.modules():
            if hasattr(module, "config"):
                module.config.is_causal = settings["is_causal"]
        for layer in _decoder_layers(model)[: settings["num_causal_layers"]]:
            layer.register_forward_pre_hook(_HideLater(layer, is_added=settings["kernel"] == "eager"), with_kwargs=True)

    def get_embedding_dimension(self) -> int:
        """Return D."""
        return int(self.model.config.hidden_size)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_options: Any) -> dict[str, Tensor]:
        """Return ids and masks (B T): what is attended to, what is pooled, and what belongs to the prompt."""
        prompt, prefix, eos = prompt or "", self.settings["prefix"], self.settings["eos_id"]
        encoded = self.tokenizer(
            [prompt + text for text in inputs], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        rows, pooled_from, num_prompt = [], [], []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            kept = list(ids[: max(0, self.max_seq_length - len(prefix) - 1)])
            while kept and kept[-1] == eos:  # a text has one EOS, which follows
                kept.pop()
            # A token that spans the end of the prompt belongs to the text.
            ends = (place for place, (_, end) in enumerate(offsets) if end > len(prompt))
            of_prompt = min(next(ends, len(ids)), len(kept)) if prompt else 0
            before = len(prefix) + of_prompt if prompt else 0
            again = kept[of_prompt:] if self.settings["echo"] else []
            if every := self.settings["landmark_every"]:
                kept = [*kept[:of_prompt], *_with_landmarks(kept[of_prompt:], eos, every)]
            row = [*prefix, *kept, *again, eos, *[eos] * self.num_soft]
            rows.append(row)
            num_prompt.append(before)
            if self.num_soft:
                pooled_from.append(len(row) - self.num_soft)
            elif self.settings["echo"]:
                pooled_from.append(len(prefix) + len(kept))
            else:
                pooled_from.append(before if self.settings["skip_prompt"] else 0)
        return self._padded(rows, pooled_from, num_prompt)

    def _padded(self, rows: list[list[int]], pooled_from: list[int], num_prompt: list[int]) -> dict[str, Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.settings["pad_id"]] * (width - len(row)) for row in rows])
        place, lengths = torch.arange(width), torch.tensor([len(row) for row in rows])
        mask = place < lengths[:, None]
        pooled = mask & (place >= torch.tensor(pooled_from)[:, None])
        if every := self.settings["landmark_every"]:
            # Found by their places: a text may contain the id of EOS itself.
            before = torch.tensor([count or len(self.settings["prefix"]) for count in num_prompt])[:, None]
            between = (place >= before) & ((place - before + 1) % (every + 1) == 0)
            pooled &= between | (place == lengths[:, None] - 1)
        if self.settings["skip_first"]:
            pooled &= (place > 0) | (lengths == 1)[:, None]
        prompt = place < torch.tensor(num_prompt)[:, None]
        soft = (mask & (place >= lengths[:, None] - self.num_soft)) if self.num_soft else torch.zeros_like(mask)
        masks = {"attention_mask": mask, "pooling_mask": pooled, "prompt_mask": prompt, "soft_mask": soft}
        return {"input_ids": ids, **{name: value.long() for name, value in masks.items()}}

    def forward(self, features: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """Return the features with ``token_embeddings`` (B T D) and, if wanted, ``layer_embeddings`` (B L D)."""
        mask, layer_tokens = features["attention_mask"], self.settings["layer_tokens"]
        seen = mask
        if self.settings["on_prompt"] and bool(features["prompt_mask"].any()):
            seen = _prefix_mask(mask.bool(), features["prompt_mask"].bool(), self.settings["kernel"] == "eager")
        positions = {}
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}
        output = self.model(
            **self._inputs(features),
            attention_mask=seen,
            use_cache=False,
            output_hidden_states=layer_tokens is not None,
            **positions,
        )
        last = output.last_hidden_state
        found = {**features, "token_embeddings": last}
        if layer_tokens is not None:
            # The first is the embedding of the tokens; the last layer's comes after the final norm.
            states = [*output.hidden_states[1:-1], last]
            pooled = features["pooling_mask"].bool()
            found["layer_embeddings"] = torch.stack([_reduce(state, pooled, layer_tokens) for state in states], dim=1)
        return found

    def _inputs(self, features: dict[str, Any]) -> dict[str, Tensor]:
        ids = features["input_ids"]
        if self.soft is None:
            return {"input_ids": ids}
        known = self.model.get_input_embeddings()(ids)
        is_soft = features["soft_mask"].bool()
        number = (is_soft.cumsum(dim=1) - 1).clamp(min=0)
        return {"inputs_embeds": known + torch.where(is_soft[..., None], self.soft[number].to(known.dtype), 0.0)}

    def save(self, output_path: str, *_args: Any, **_options: Any) -> None:
        """Write model, tokenizer and settings."""
        self.model.save_pretrained(output_path)
        self.tokenizer.save_pretrained(output_path)
        settings = {**self.settings, "max_seq_length": self.max_seq_length}
        (Path(output_path) / self.config_file_name).write_text(json.dumps(settings, indent=2))
        if self.soft is not None:
            save_file({"soft": self.soft.detach().cpu()}, Path(output_path) / SOFT_TOKENS)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        **_options: Any,
    ) -> Reader:
        """Return the reader of a folder or hub id."""
        place = {"token": token, "revision": revision, "local_files_only": local_files_only}
        settings = cls.load_config(model_name_or_path, subfolder, cache_folder=cache_folder, **place)
        given = {"attn_implementation": settings["kernel"], **(model_kwargs or {})}
        hub = {**place, "cache_dir": cache_folder}
        model = AutoModel.from_pretrained(model_name_or_path, trust_remote_code=False, **hub, **given)
        tokenizer = AutoTokenizer.from_pretrained(model_name_or_path, trust_remote_code=False, **hub)
        path = cls.load_file_path(model_name_or_path, SOFT_TOKENS, subfolder, cache_folder=cache_folder, **place)
        return cls(model, tokenizer, settings, None if path is None else load_file(path)["soft"])


def _with_landmarks(text: list[int], landmark: int, every: int) -> list[int]:
    """Return the ids of a text with a landmark after every few of them, but none at its end."""
    chunks = [text[start : start + every] for start in range(0, len(text), every)]
    return [one for number, chunk in enumerate(chunks) for one in ([landmark, *chunk] if number else chunk)]


class Head(Module):
    """Pools states into one vector per text. ``settings`` (``1_Head/config.json``) name its kind and its sizes."""

    config_keys = ("settings",)

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        dim, kind = settings["dim"], settings["kind"]
        num_layers = len(settings.get("layers", ()))
        if kind == "layer_mix":
            self.logits = nn.Parameter(torch.zeros(num_layers))
        elif kind == "mlp":
            self.up, self.down = nn.Linear(dim, settings["width"]), nn.Linear(settings["width"], dim)
        elif kind in ("latent", "multilayer"):
            self.head: nn.Module = LatentsAttend(dim, settings["latents"], settings["heads"], settings["head_dim"])
        elif kind == "nv_latent":
            self.head = TokensAttend(dim, settings["latents"], settings["heads"], settings["head_dim"])
        elif kind == "pma":
            self.head = QueriesAttend(dim, settings["width"], settings["queries"], settings["heads"])
        if kind == "multilayer" and settings["layer_embedding"]:
            self.layers = nn.Parameter(torch.zeros(num_layers, dim))
        width = settings["projected"]
        self.projection = None if width is None else nn.Linear(dim, width, bias=False)

    def get_embedding_dimension(self) -> int:
        """Return W."""
        own = self.settings["width"] if self.settings["kind"] == "pma" else self.settings["dim"]
        return int(self.settings["projected"] or own)

    def forward(self, features: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """Return the features with ``sentence_embedding`` (B W)."""
        pooled = self._pool(features)
        return {**features, "sentence_embedding": pooled if self.projection is None else self.projection(pooled)}

    def _pool(self, features: dict[str, Any]) -> Tensor:
        kind, settings = self.settings["kind"], self.settings
        states, mask = features["token_embeddings"].float(), features["pooling_mask"].bool()
        if kind in ("last", "mean", "weighted_mean"):
            return _reduce(states, mask, kind)
        if kind == "mlp":
            state = _normalise(_reduce(states, mask, settings["tokens"]))
            return state + self.down(functional.gelu(self.up(state)))
        if kind in ("nv_latent", "pma", "latent"):
            if kind == "latent" and settings["keys"] == "last":
                states = _reduce(states, mask, "last")[:, None]
                mask = mask.new_ones(len(states), 1)
            found: Tensor = self.head(states, mask)
            return found
        # The others pool one state per layer; layers are counted from 1.
        layers = features["layer_embeddings"].float()[:, [number - 1 for number in settings["layers"]]]
        layers = layers if settings.get("input") == "raw" else _normalise(layers)
        if kind == "layer_mean":
            return layers.mean(dim=1)
        if kind == "layer_mix":
            return torch.einsum("s,bsd->bd", self.logits.softmax(dim=0), layers)
        layers = layers + self.layers if settings["layer_embedding"] else layers
        attended: Tensor = self.head(layers, mask.new_ones(layers.shape[:2]))
        return attended

    def save(self, output_path: str, *_args: Any, **_options: Any) -> None:
        """Write settings and weights."""
        self.save_config(output_path)
        if state := self.state_dict():
            save_file(state, Path(output_path) / WEIGHTS)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **_options: Any,
    ) -> Head:
        """Return the head of a folder or hub id."""
        place: dict[str, Any] = {"token": token, "cache_folder": cache_folder, "revision": revision}
        place["local_files_only"] = local_files_only
        head = cls(**cls.load_config(model_name_or_path, subfolder, **place))
        if head.state_dict():
            path = cls.load_file_path(model_name_or_path, WEIGHTS, subfolder, **place)
            head.load_state_dict(load_file(path))
        return head


class _Latents(nn.Module):
    """The parameters of attention between states and trained latents."""

    def __init__(self, dim: int, latents: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.latents = nn.Parameter(torch.zeros(latents, dim))
        self.norm_latents, self.norm_states = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_key = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_value = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, dim, bias=False)
        self.norm_ff = nn.LayerNorm(dim)
        self.ff_in, self.ff_out = nn.Linear(dim, 8 * dim), nn.Linear(4 * dim, dim)

    def attend(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return to_out of the attended values: queries (B M D), keys (B N D), mask of keys (B N)."""
        query, key, value = (
            linear(states).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
            for linear, states in ((self.to_query, queries), (self.to_key, keys), (self.to_value, keys))
        )
        scores = query @ key.transpose(-1, -2) / self.head_dim**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
        attended: Tensor = self.to_out((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(-2))
        return attended

    def feed_forward(self, states: Tensor) -> Tensor:
        """Return the gated feed-forward part of states."""
        inner, gate = self.ff_in(self.norm_ff(states)).chunk(2, dim=-1)
        result: Tensor = self.ff_out(inner * functional.gelu(gate))
        return result


class LatentsAttend(_Latents):
    """Latents attend to states and are averaged (arXiv:2409.02727, section 3)."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        keys = self.norm_states(torch.where(mask[:, :, None], states, 0.0))
        queries = self.norm_latents(self.latents).expand(len(states), -1, -1)
        latents = self.latents + self.attend(queries, keys, mask)
        return (latents + self.feed_forward(latents)).mean(dim=1)


class TokensAttend(_Latents):
    """Tokens attend to latents and are averaged (the direction of NV-Embed, arXiv:2405.17428)."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        tokens = _normalise(torch.where(mask[:, :, None], states, 0.0))
        keys = self.norm_latents(self.latents).expand(len(states), -1, -1)
        tokens = tokens + self.attend(self.norm_states(tokens), keys)
        return _reduce(tokens + self.feed_forward(tokens), mask, "mean")


class QueriesAttend(nn.Module):
    """Trained queries attend to tokens (Set Transformer, arXiv:1810.00825, section 3.2) and are averaged."""

    def __init__(self, dim: int, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.queries = nn.Parameter(torch.zeros(queries, width))
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key, self.to_value = nn.Linear(dim, width, bias=False), nn.Linear(dim, width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.norm_attended, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        tokens = _normalise(torch.where(mask[:, :, None], states, 0.0))
        queries = self.queries.expand(len(states), -1, -1)
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
            for linear, x in ((self.to_query, queries), (self.to_key, tokens), (self.to_value, tokens))
        )
        scores = (query @ key.transpose(-1, -2) / self.head_dim**0.5).masked_fill(~mask[:, None, None, :], -torch.inf)
        attended = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(-2)
        state = self.norm_attended(queries + attended)
        result: Tensor = self.norm_out(state + functional.relu(self.to_out(state))).mean(dim=1)
        return result


def _normalise(states: Tensor) -> Tensor:
    """Return states with mean 0 and variance 1 along their last dimension."""
    return functional.layer_norm(states, states.shape[-1:])


def _reduce(states: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Return one state per text (B D): the last, the mean, or the mean with weights 1, 2, 3 ... by position."""
    states = states.float()
    if kind == "last":
        last = torch.where(mask, torch.arange(mask.shape[1], device=mask.device), -1).amax(dim=1)
        return states[torch.arange(len(mask), device=mask.device), last]
    weights = torch.where(mask, mask.cumsum(dim=1) if kind == "weighted_mean" else 1, 0).float()
    kept = torch.where(mask[:, :, None], states, 0.0)
    return (weights[:, :, None] * kept).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def _decoder_layers(model: Any) -> nn.ModuleList:
    """Return the list of decoder layers: of the lists as long as the model has layers, that with most weights."""
    count = model.config.num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    return max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()))


def _as_mask(seen: Tensor, is_added: bool) -> Tensor:
    """Return a boolean mask as the attention takes it: as it is, or as numbers that are added to the scores."""
    if not is_added:
        return seen
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, torch.finfo(torch.float32).min)


def _prefix_mask(mask: Tensor, prompt: Tensor, is_added: bool) -> Tensor:
    """Return a mask (B 1 T T): bidirectional among the prompt's tokens, causal for all others."""
    earlier = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()
    seen = (mask[:, None, :] & earlier) | (prompt[:, :, None] & prompt[:, None, :])
    return _as_mask(seen[:, None], is_added)


class _HideLater:
    """A hook that removes later tokens from the mask of one layer."""

    def __init__(self, layer: nn.Module, is_added: bool) -> None:
        self.place = list(inspect.signature(layer.forward).parameters).index("attention_mask")
        self.is_added = is_added

    def __call__(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        if len(args) > self.place:
            return (*args[: self.place], self._hidden(args[self.place], states), *args[self.place + 1 :]), kwargs
        return args, {**kwargs, "attention_mask": self._hidden(kwargs.get("attention_mask"), states)}

    def _hidden(self, mask: Tensor | None, states: Tensor) -> Tensor:
        earlier = torch.ones(states.shape[1], states.shape[1], dtype=torch.bool, device=states.device).tril()
        if mask is None:
            return _as_mask(earlier[None, None], self.is_added)
        return mask & earlier if mask.dtype == torch.bool else mask.masked_fill(~earlier, torch.finfo(mask.dtype).min)
