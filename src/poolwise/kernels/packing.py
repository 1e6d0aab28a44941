"""Packing: the texts of a batch are concatenated without padding, and attention is computed within each text.

In a padded batch the layers also compute padding: a third of the work or more if lengths are mixed. Here the padding is
removed before the first layer. Linear layers and norms read one row per real token. Texts of equal length are adjacent,
so attention reads them as one batch without a mask. On CUDA torch's varlen kernel reads all texts in one call.

transformers' own packing cannot be used: with bidirectional attention its texts attend to each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from poolwise.kernels.masks import is_causal
from poolwise.kernels.narrow import token_inputs
from poolwise.kernels.near_groups import NearGroup, attend_near_groups, group_near
from poolwise.kernels.reduction import mean_rows, widen
from poolwise.kernels.text_attention import attend_text, narrowed, products_pay
from poolwise.kernels.transfer import sent
from poolwise.kernels.varlen import attend_varlen, takes_varlen
from poolwise.upstream.transformers import attention_in_use, sdpa_attention_forward, sdpa_mask

logger = logging.getLogger(__name__)

PACKED_ATTENTION = "poolwise_packed"

PACKABLE = frozenset(
    {"llama", "qwen2", "qwen3", "mistral", "ministral3", "gemma", "phi3", "olmo2", "smollm3", "granite", "gpt_neox"}
)
"""Architectures whose layers pass the packing to their attention; a parity test compares packed with padded on each."""

_FEW, _FEW_ROWS, _MANY_ROWS = 256, 16, 64
"""Rows are filled up to a multiple of 16, or of 64 beyond 256 tokens: at most a tenth of the work on average."""


@dataclass(frozen=True)
class Packing:
    """The layout of a padded batch (B T) as packed tokens, shortest text first.

    Args:
        order: the text at each place.
        lengths: number of real tokens of each text, in that order.
        index: position of each packed token in the flattened batch.
        positions: position of each token in its text, from 0.
        num_prompt: how many first tokens of each text attend to each other in both directions, in that order; None for
            none.
        pooled: which packed tokens are pooled, on the device where the batch was packed; None if not given.
        last_only: only each text's last token is read after the last layer.
    """

    order: Int[Tensor, " B"]
    lengths: list[int]
    index: Int[Tensor, " N"]
    positions: Int[Tensor, " N"]
    width: int
    num_prompt: list[int] | None = None
    pooled: Bool[Tensor, " N"] | None = None
    last_only: bool = False

    @cached_property
    def last_rows(self) -> Int[Tensor, " M"]:
        """Each text's last token, then repeats of the first token that limit the number of different shapes."""
        last = self.boundaries[1:].long() - 1
        return functional.pad(last, (0, num_filler(len(last), last.device)))

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """Number of texts and their length, for each group of equally long texts."""
        return [(len(list(texts)), length) for length, texts in groupby(self.lengths)]

    @cached_property
    def near_groups(self) -> list[NearGroup]:
        """Groups of texts of similar length."""
        return group_near(self.lengths)

    @cached_property
    def boundaries(self) -> Int[Tensor, " B1"]:
        """The index of each text's first token, and N, as varlen kernels need them."""
        ends = torch.tensor([0, *self.lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return sent(ends, self.index.device)

    @cached_property
    def prefix_masks(self) -> list[Bool[Tensor, "G 1 T T"] | None]:
        """For each group of equally long texts, which keys each query sees; None for a group without prompts."""
        if self.num_prompt is None:
            return [None] * len(self.groups)
        masks: list[Tensor | None] = []
        counts = iter(self.num_prompt)
        for count, length in self.groups:
            prompts = torch.tensor([next(counts) for _ in range(count)], device=self.index.device)
            if not bool(prompts.any()):
                masks.append(None)
                continue
            place = torch.arange(length, device=self.index.device)
            in_prompt = place < prompts[:, None]
            both = in_prompt[:, :, None] & in_prompt[:, None, :]
            masks.append((both | (place[:, None] >= place))[:, None])
        return masks

    @cached_property
    def prompt_rows(self) -> Int[Tensor, " M"]:
        """The packed tokens that belong to a prompt, in order."""
        lengths, counts = torch.tensor(self.lengths), torch.tensor(self.num_prompt or [0] * len(self.lengths))
        place = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        return sent((place < counts.repeat_interleave(lengths)).nonzero()[:, 0], self.index.device)

    @cached_property
    def prompt_boundaries(self) -> Int[Tensor, " P1"]:
        """The index in ``prompt_rows`` of each prompt's first token, and M; texts without a prompt are left out."""
        counts = [0, *(count for count in self.num_prompt or [] if count)]
        return sent(torch.tensor(counts, dtype=torch.int32).cumsum(0, dtype=torch.int32), self.index.device)

    def pack(self, values: Tensor) -> Tensor:
        """Return the rows of the real tokens: (B T ...) becomes (N ...)."""
        return values.flatten(0, 1)[self.index]

    def unpack(self, packed: Float[Tensor, "N D"]) -> Float[Tensor, "B T D"]:
        """Return (N D) as (B T D), with zeros at padding."""
        flat = packed.new_zeros(len(self.lengths) * self.width, packed.shape[-1])
        return flat.index_copy(0, self.index, packed).unflatten(0, (len(self.lengths), self.width))


def pack_batch(
    mask: Bool[Tensor, "B T"],
    prompt: Bool[Tensor, "B T"] | None = None,
    *,
    pooled: Bool[Tensor, "B T"] | None = None,
    last_only: bool = False,
    device: torch.device | None = None,
) -> Packing:
    """Return the packing of a batch padded on either side, from its mask.

    It is computed on the mask's device. It needs numbers on the CPU, which wait until a GPU has finished its work. So
    pack a batch while it is still in CPU memory, and give ``device``.

    Args:
        prompt: the first tokens of each text, if they attend to each other in both directions.
        pooled: the tokens that are pooled.
        last_only: see ``Packing``.
        device: where the batch will be read; None is the mask's device.
    """
    device = device or mask.device
    order = mask.sum(dim=1).argsort(stable=True)
    rows, columns = mask[order].nonzero(as_tuple=True)
    lengths = mask.sum(dim=1)[order]
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    positions = torch.arange(len(rows), device=mask.device) - starts
    num_prompt = None if prompt is None else prompt.sum(dim=1)[order].tolist()
    index = order[rows] * mask.shape[1] + columns
    return Packing(
        sent(order, device),
        lengths.tolist(),
        sent(index, device),
        sent(positions, device),
        mask.shape[1],
        num_prompt,
        None if pooled is None else pooled.flatten()[index],
        last_only,
    )


class PackedReduction:
    """Reduces packed states to one per text, as ``reduce_tokens`` does for padded states.

    Args:
        pooled: which packed tokens are pooled, at least one per text; may still be in CPU memory.
        tokens: "last" or "mean".
    """

    def __init__(self, packing: Packing, pooled: Bool[Tensor, " N"], tokens: str) -> None:
        lengths, device = torch.tensor(packing.lengths, device=pooled.device), packing.index.device
        text = torch.arange(len(lengths), device=pooled.device).repeat_interleave(lengths)
        kept, counts = pooled.nonzero()[:, 0], text[pooled].bincount(minlength=len(lengths))
        self._tokens, self._num_tokens = tokens, len(pooled)
        self._kept = None if len(kept) == len(pooled) else sent(kept, device)
        self._counts = sent(counts, device)
        self._last = sent(kept[counts.cumsum(0) - 1], device)
        self._place = packing.order.argsort()

    def __call__(self, states: Float[Tensor, "M D"]) -> Float[Tensor, "B D"]:
        """Return one state per text in batch order, in fp32; rows after the packed tokens are ignored."""
        states = states[: self._num_tokens]
        if self._tokens == "last":
            return widen(states[self._last[self._place]])
        kept = widen(states if self._kept is None else states[self._kept])
        return mean_rows(kept, self._counts)[self._place]


def num_filler(num_tokens: int, device: torch.device) -> int:
    """Return how many idle rows to append so that a CPU meets few different shapes.

    oneDNN prepares a bf16 product for every new shape, which takes 2.3 ms; a linear layer takes 0.8 to 2.4 ms for 950
    tokens (widths 256 to 704 and 576 to 1536, one core).
    """
    if device.type != "cpu":
        return 0
    return -num_tokens % (_FEW_ROWS if num_tokens <= _FEW else _MANY_ROWS)


def use_packing(model: PreTrainedModel) -> bool:
    """Switch a model's attention to packed batches, if its architecture supports them; return whether it does."""
    family, implementation = model.config.model_type, attention_in_use(model.config)
    if family not in PACKABLE or implementation not in ("sdpa", PACKED_ATTENTION):
        logger.warning("%s with %s attention reads padded batches: same embeddings, slower", family, implementation)
        return False
    model.set_attn_implementation(PACKED_ATTENTION)
    return True


def longest_packable(model: PreTrainedModel) -> int | None:
    """Return the longest text that may be packed: the model's sliding window, or None without one."""
    window = getattr(model.config, "sliding_window", None)
    return window if getattr(model.config, "use_sliding_window", True) else None


def forward_packed(
    model: PreTrainedModel,
    ids: Int[Tensor, "B T"],
    packing: Packing,
    inputs: Callable[[Int[Tensor, "1 N"]], dict[str, Tensor]] | None = None,
) -> Float[Tensor, "N D"]:
    """Return the last layer's state of each real token, or of each text's last token if ``packing.last_only``.

    Inside the layers, idle rows may follow them.

    Args:
        inputs: the model's argument for packed ids: the ids or their embeddings; None is ``token_inputs``.
    """
    filler = num_filler(len(packing.index), ids.device)
    output = model(
        **(inputs or partial(token_inputs, model))(functional.pad(packing.pack(ids), (0, filler))[None]),
        position_ids=functional.pad(packing.positions, (0, filler))[None],
        # transformers passes a four-dimensional mask on unchanged, so it builds no N x N mask; nobody reads this one.
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device),
        use_cache=False,
        packing=packing,
    )
    states: Float[Tensor, "1 N D"] = output.last_hidden_state
    return states[0, : len(packing.lengths if packing.last_only else packing.index)]


def packed_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "B H T E"],
    key: Float[Tensor, "B G T E"],
    value: Float[Tensor, "B G T E"],
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Float[Tensor, "B T H E"], None]:
    """Return the attention within each text of a packed batch (B is 1), or transformers' attention without packing."""
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    query, key, value = (narrowed(states) for states in (query, key, value))
    sees_earlier_only = is_causal(module)
    if takes_varlen(query) and not dropout:
        return _varlen(query, key, value, packing, scaling, sees_earlier_only), None
    if packing.num_prompt is None and not dropout and products_pay(query):
        return attend_near_groups(query, key, value, packing.near_groups, scaling, is_causal=sees_earlier_only), None
    idle = query.shape[2] - len(packing.index)
    if len(packing.lengths) == 1 and packing.prefix_masks[0] is None and not dropout:
        # One text, as a search box sends it: taking the batch apart and joining it again costs more than its attention.
        text = slice(packing.groups[0][1])
        one = attend_text(
            query[:, :, text], key[:, :, text], value[:, :, text], scaling, is_causal=sees_earlier_only
        ).transpose(1, 2)
        return (functional.pad(one, (0, 0, 0, 0, 0, idle)) if idle else one), None
    # Split instead of slices: the gradient of each slice would be a whole tensor of zeros.
    sizes = [count * length for count, length in packing.groups] + [idle] * (idle > 0)
    outputs = []
    for (count, length), mask, *parts in zip(
        packing.groups, packing.prefix_masks, *(x[0].split(sizes, 1) for x in (query, key, value)), strict=False
    ):
        states = [part.unflatten(1, (count, length)).transpose(0, 1) for part in parts]
        if mask is None and not dropout:
            attended = attend_text(states[0], states[1], states[2], scaling, is_causal=sees_earlier_only)
        else:
            attended = functional.scaled_dot_product_attention(
                states[0],
                states[1],
                states[2],
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None and sees_earlier_only and length > 1,
                scale=scaling,
                enable_gqa=key.shape[1] != query.shape[1],
            )
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    if idle:
        outputs.append(outputs[0].new_zeros(idle, *outputs[0].shape[1:]))
    return torch.cat(outputs)[None], None


def last_attention(
    query: Float[Tensor, "1 H M E"],
    key: Float[Tensor, "1 G N E"],
    value: Float[Tensor, "1 G N E"],
    packing: Packing,
    scaling: float | None,
) -> Float[Tensor, "1 M H E"]:
    """Return the attention of each text's last token, which sees its whole text, causal or not."""
    if takes_varlen(query):
        num_texts = len(packing.lengths)
        ends = torch.arange(num_texts + 1, dtype=torch.int32, device=query.device), packing.boundaries
        states = [part[0].transpose(0, 1) for part in (query, key, value)]
        longest = 1, packing.lengths[-1]
        return attend_varlen(states[0], states[1], states[2], ends, longest, scaling, is_causal=False)[None]
    counts = [count for count, _ in packing.groups]
    sizes = [count * length for count, length in packing.groups]
    idle = [part.shape[2] - total for part, total in ((query, sum(counts)), (key, sum(sizes)))]
    queries = query[0].split([*counts, idle[0]], 1)
    keys, values = (part[0].split([*sizes, idle[1]], 1) for part in (key, value))
    outputs = []
    for (count, length), q, k, v in zip(packing.groups, queries, keys, values, strict=False):
        attended = functional.scaled_dot_product_attention(
            q.unflatten(1, (count, 1)).transpose(0, 1),
            k.unflatten(1, (count, length)).transpose(0, 1),
            v.unflatten(1, (count, length)).transpose(0, 1),
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        outputs.append(attended[:, :, 0])
    outputs.append(outputs[0].new_zeros(idle[0], *outputs[0].shape[1:]))
    return torch.cat(outputs)[None]


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, sees_earlier_only: bool
) -> Float[Tensor, "1 N H E"]:
    states = [states[0].transpose(0, 1) for states in (query, key, value)]
    ends, longest = (packing.boundaries,) * 2, (packing.lengths[-1],) * 2
    attended = attend_varlen(states[0], states[1], states[2], ends, longest, scaling, is_causal=sees_earlier_only)
    if packing.num_prompt is not None:
        # Prompt tokens see only their prompt, so their rows come from an attention over the prompts.
        rows = packing.prompt_rows
        ends, longest = (packing.prompt_boundaries,) * 2, (max(packing.num_prompt),) * 2
        prompts = [part[rows] for part in states]
        both_ways = attend_varlen(prompts[0], prompts[1], prompts[2], ends, longest, scaling, is_causal=False)
        attended = attended.index_copy(0, rows, both_ways)
    return attended[None]


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
