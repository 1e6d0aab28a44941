"""Attention for texts of similar length as one padded batch: few large matrix products instead of many small ones.

One call per length takes Python's lock so often that lanes wait for it, and its products are too small. The padding
exists only inside attention: the rest of the layers still read real tokens only. Reference implementation: each text
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from poolwise.kernels.text_attention import attend_by_products

_SLACK, _SHARE = 16, 8
"""Lengths in a group differ by at most 16 tokens, or an eighth of the shortest if that is more."""


@dataclass(frozen=True)
class NearGroup:
    """Texts of similar length, shortest first; attention reads them as one batch padded to the longest.

    Args:
        start: index of the group's first token among the packed tokens.
    """

    start: int
    lengths: list[int]

    @cached_property
    def _is_real(self) -> Bool[Tensor, "C T"] | None:
        if self.lengths[0] == self.lengths[-1]:
            return None
        return torch.arange(self.lengths[-1]) < torch.tensor(self.lengths)[:, None]

    @cached_property
    def _rows(self) -> Int[Tensor, " CT"]:
        """The row at each place; padding repeats the last row of its text."""
        assert self._is_real is not None
        return self._is_real.flatten().cumsum(0) - 1

    @cached_property
    def _kept(self) -> Int[Tensor, " N"]:
        assert self._is_real is not None
        return self._is_real.flatten().nonzero()[:, 0]

    def pad(self, states: Float[Tensor, "N H E"]) -> Float[Tensor, "C T H E"]:
        """Return the states of the group's tokens as a padded batch of texts."""
        padded = states if self._is_real is None else states.index_select(0, self._rows)
        return padded.unflatten(0, (len(self.lengths), self.lengths[-1]))

    def unpad(self, states: Float[Tensor, "C T H E"]) -> Float[Tensor, "N H E"]:
        """Return the states of a padded batch as packed tokens again."""
        flat = states.flatten(0, 1)
        return flat if self._is_real is None else flat.index_select(0, self._kept)

    @cached_property
    def late(self) -> Float[Tensor, "C P"] | None:
        """Return 0 at tokens and minus infinity at padding, for places beyond the shortest text; None if no padding."""
        if self._is_real is None:
            return None
        beyond = self._is_real[:, self.lengths[0] :]
        return torch.zeros(beyond.shape).masked_fill_(~beyond, -torch.inf)


def group_near(lengths: Sequence[int]) -> list[NearGroup]:
    """Return groups of texts of similar length, from lengths sorted shortest first."""
    groups: list[NearGroup] = []
    start = 0
    for length in lengths:
        if not groups or length > groups[-1].lengths[0] + max(_SLACK, groups[-1].lengths[0] // _SHARE):
            groups.append(NearGroup(start, []))
        groups[-1].lengths.append(length)
        start += length
    return groups


def attend_near_groups(
    query: Float[Tensor, "1 H N E"],
    key: Float[Tensor, "1 G N E"],
    value: Float[Tensor, "1 G N E"],
    groups: Sequence[NearGroup],
    scale: float | None,
    *,
    is_causal: bool,
) -> Float[Tensor, "1 N H E"]:
    """Return the attention within each text of a packed batch; zeros in idle rows after the last text."""
    attended = query.new_zeros(query.shape[2], *query.shape[1::2])
    for group in groups:
        rows = slice(group.start, group.start + sum(group.lengths))
        near = [group.pad(part[0].transpose(0, 1)[rows]).transpose(1, 2) for part in (query, key, value)]
        # Padding comes after its text, where causal attention does not look.
        late = None if is_causal else group.late
        found = attend_by_products(near[0], near[1], near[2], scale, is_causal=is_causal, late=late)
        attended[rows] = group.unpad(found.transpose(1, 2))
    return attended[None]
