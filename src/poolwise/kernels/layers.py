"""One state per layer, taken as the layers compute it: never a stack of all hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.errors import ModelError


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of decoder layers, whatever the family calls it (``layers``, ``h``, ``decoder.layers`` ...).

    Raises: ModelError where no list has as many entries as the configuration counts layers.
    """
    count = model.config.num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no list of {count} layers",
            "wanted a decoder whose layers stand in one list",
            "poolings of the last layer alone need no layer list",
        )
    # Some families keep further lists of that length (norms, routers); the layers hold by far the most weights.
    return max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()))


@contextmanager
def layer_states(layers: nn.ModuleList, reduce: Callable[[Tensor], Tensor]) -> Iterator[dict[int, Tensor]]:
    """Give a dict that a forward inside the block fills: layer number 1 .. L-1 -> ``reduce(its output)``.

    Layer L is left to the caller, who has it after the final norm. The hooks stand outside gradient checkpoints, so a
    recomputation in the backward does not pass here again; where a family does, it rewrites an equal value.
    """
    states: dict[int, Tensor] = {}

    def keep(number: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states[number] = reduce(output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [layer.register_forward_hook(keep(number)) for number, layer in enumerate(layers[:-1], start=1)]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
