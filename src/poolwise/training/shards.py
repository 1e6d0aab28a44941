"""Weights that one device cannot hold: each rank keeps a part of them (FSDP2), and a layer is whole only while it runs.

torch's ``fully_shard`` gathers the weights of a layer before its forward and its backward, frees them afterwards, and
adds up gradients over the ranks so that each rank gets those of its own part. A part is a ``DTensor``. A pooling's
weights are shared out too, except trained tokens, which the base reads outside of the pooling.

Checkpoints and saved models are those of whole weights, so any number of ranks, or one device, can use them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import get_device_name
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from poolwise.kernels.layers import decoder_layers
from poolwise.models import Backbone
from poolwise.ranks import current_ranks, wait_for_all
from poolwise.training.exchange import sum_over_ranks
from poolwise.training.optimizer import trainable_parameters


def is_sharded(model: nn.Module) -> bool:
    """Return whether each rank holds only a part of a model's weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def sharded(model: SentenceTransformer, device: str | None = None) -> Iterator[SentenceTransformer]:
    """Yield a model to train whose weights are shared out over all ranks; afterwards rank 0's ``model`` is trained.

    All ranks call this with the same model, in CPU memory. Rank 0 keeps it there, and gets the trained weights at the
    end of the block. The other ranks' models lose their weights, so that the computer holds them only once.

    Args:
        device: where the parts are; None is a GPU if there is one.
    """
    parts = _copy_of(model)
    cached = torch.is_autocast_cache_enabled()
    # The cache would keep a bf16 copy of every trained weight until the whole forward has ended.
    torch.set_autocast_cache_enabled(False)
    try:
        _share(parts, torch.device(device or get_device_name()))
        if not current_ranks().is_first:
            model.to("meta")
        yield parts
    finally:
        torch.set_autocast_cache_enabled(cached)
    trained = whole_weights(parts)
    if current_ranks().is_first:
        with torch.no_grad():
            for name, parameter in trainable_parameters(model).items():
                parameter.copy_(trained[name])
    wait_for_all()


def _copy_of(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model with modules of its own over the same memory."""
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    shared: dict[int, object] = {id(part): part for part in (backbone.tokenizer, backbone.tokens)}
    shared |= {id(weight): nn.Parameter(weight.detach(), weight.requires_grad) for weight in model.parameters()}
    shared |= {id(buffer): buffer.detach() for buffer in model.buffers()}
    return copy.deepcopy(model, shared)


def _share(model: SentenceTransformer, device: torch.device) -> None:
    backbone, pooling = model[0], model[1]
    mesh = init_device_mesh(device.type, (current_ranks().size,))
    groups = [*decoder_layers(backbone.model), backbone.model.get_input_embeddings()]
    if (soft := backbone.soft_tokens) is not None:
        soft.data = soft.data.to(device)
    elif any(True for _ in pooling.parameters()):
        groups.append(pooling)
    for module in (*groups, model):
        part = fully_shard(module, mesh=mesh, ignored_params=None if soft is None else {soft})
        # Every rank has the loss of the whole batch, so gradients are added, not averaged.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole, on the device of its part; all ranks call this for a tensor that they share."""
    if not isinstance(tensor, DTensor):
        return tensor
    found: Tensor = tensor.full_tensor()
    return found


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of a whole tensor, shared out as ``like`` is; the tensor itself if ``like`` is whole."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    # Every rank has the whole value, so nothing is sent.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def whole_weights(model: SentenceTransformer) -> dict[str, Tensor]:
    """Return the trained parameters by name, whole and in CPU memory, on rank 0; empty on others.

    If the model is sharded, all ranks call this.
    """
    return _on_first(trainable_parameters(model))


def _on_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())  # one at a time: rank 0's device has room for a few, not for all
        if current_ranks().is_first:
            found[name] = gathered.cpu().contiguous()
    return found


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Clip gradients to ``max_norm`` over all weights and return the norm before clipping, the same on every rank."""
    if not is_sharded(model):
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    own = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    same = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    device = gradients[0].device
    norm = torch.tensor(sum_over_ranks(_square(own), device) + _square(same), dtype=torch.float64).sqrt().float()
    for gradient in (*own, *same):
        gradient.mul_(min(1.0, max_norm / (float(norm) + 1e-6)))
    return norm


def _square(tensors: Iterable[Tensor]) -> float:
    """Return the sum of squares of all numbers."""
    return sum(float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2 for tensor in tensors)


class WholeState:
    """Lets an optimiser of shared-out weights save and load the state of whole ones.

    Without shared-out weights it changes nothing.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._gathered: dict[int, dict[str, Any]] | None = None
        optimizer.register_state_dict_post_hook(self._replace)
        optimizer.register_load_state_dict_pre_hook(self._split)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside the block, rank 0's ``state_dict`` has whole tensors in CPU memory. All ranks enter it."""
        state = self._optimizer.state_dict()["state"]
        self._gathered = {number: _on_first_or_same(values) for number, values in state.items()}
        try:
            yield
        finally:
            self._gathered = None

    def _replace(self, _optimizer: Optimizer, stored: dict[str, Any]) -> dict[str, Any] | None:
        return None if self._gathered is None else {**stored, "state": self._gathered}

    def _split(self, optimizer: Optimizer, stored: dict[str, Any]) -> dict[str, Any]:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        numbers = [number for group in stored["param_groups"] for number in group["params"]]
        by_number = dict(zip(numbers, weights, strict=True))
        state = {
            number: {name: _part_if_shaped(value, by_number[number]) for name, value in values.items()}
            for number, values in stored["state"].items()
        }
        return {**stored, "state": state}


def _on_first_or_same(values: Mapping[str, Any]) -> dict[str, Any]:
    shared = {name: value for name, value in values.items() if isinstance(value, DTensor)}
    return {**values, **_on_first(shared)}


def _part_if_shaped(value: Any, weight: Tensor) -> Any:
    """Return this rank's part of a state that has the shape of its weight, such as a moment; others as they are."""
    return part_of(value, weight) if isinstance(value, Tensor) and value.shape == weight.shape else value
