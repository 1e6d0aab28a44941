"""One reduced state per layer, collected by hooks during the forward, so all hidden states are never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.errors import ModelError


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of decoder layers, whatever its name in the architecture (``layers``, ``h``, ...).

    Raises: ModelError if no list has as many entries as the configuration has layers.
    """
    count = model.config.num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no list of {count} layers",
            "wanted a decoder with all its layers in one nn.ModuleList",
            "use another base",
        )
    # Some architectures have other lists of that length (norms, routers); the layers have by far the most weights.
    return max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()))


@contextmanager
def layer_states(layers: nn.ModuleList, reduce: Callable[[Tensor], Tensor]) -> Iterator[dict[int, Tensor]]:
    """Yield a dict that a forward inside the block fills: layer number 1 .. L-1 -> ``reduce(output of the layer)``.

    Layer L is not included: the caller gets it after the final norm. The hooks are outside gradient checkpoints, so
    recomputation in the backward does not call them again; if an architecture does, the value is the same.
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
