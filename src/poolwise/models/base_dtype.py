"""Resolves the dtype of a base's weights on a device, and checks that the device supports it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from sentence_transformers.util import get_device_name
from transformers import BitsAndBytesConfig, PreTrainedModel

from poolwise.base_dtypes import BaseDtype, HeldDtype, Precision, reason_against
from poolwise.errors import ConfigError
from poolwise.kernels.precision import uses_bf16


def hold_base_in(
    asked: BaseDtype,
    *,
    method: str,
    precisions: Mapping[str, Precision],
    device: str | torch.device | None = None,
    adapts: bool = False,
) -> HeldDtype:
    """Return the dtype in which a base is held on a device.

    Args:
        method: how the base is trained.
        precisions: of the products that read the base, by the name of their setting.
        device: where it computes; None takes a GPU if there is one.
        adapts: whether the base is adapted and then written with its adapter merged.
    Raises: ConfigError for a dtype that the method, the products or the device do not allow.
    """
    place = str(device or get_device_name())
    wide = [name for name, precision in precisions.items() if not uses_bf16(precision, place)]
    if asked == "auto":
        return "fp32" if wide or method == "full" else "bf16"
    if reason := reason_against(asked, method=method, precisions=precisions, adapts=adapts):
        raise ConfigError(reason)
    if asked == "nf4":
        require_4bit(place)
    elif asked == "bf16" and wide:
        raise ConfigError(
            f"base_dtype is bf16, but products on {place} are fp32 ({' and '.join(wide)}: auto)",
            "wanted bf16 products, since products in fp32 would need an fp32 copy of the weights",
            f"set base_dtype: auto, or {' and '.join(wide)}: bf16, which is slow on this device",
        )
    return asked


def resolved_precision(precision: Precision, device: str | None) -> Precision:
    """Return "bf16" or "fp32", as "auto" means it on a device; None is a GPU if there is one."""
    return "bf16" if uses_bf16(precision, device or get_device_name()) else "fp32"


def held_when_loaded(trained_in: HeldDtype, precision: Precision, device: str | None) -> HeldDtype:
    """Return the dtype in which a saved model's base is held, given the dtype that it was held in for training.

    Raises: ConfigError for 4-bit weights that this device cannot hold, or with products in fp32.
    """
    if trained_in != "nf4":
        return trained_in if uses_bf16(precision, device or get_device_name()) else "fp32"
    return hold_base_in("nf4", method="lora", precisions={"precision": precision}, device=device)


def require_4bit(device: str | torch.device) -> None:
    """Check that a device can hold 4-bit weights.

    Raises: ConfigError with everything that is missing: a CUDA device, the package bitsandbytes.
    """
    missing = [] if torch.device(device).type == "cuda" else [f"a CUDA device (this is {device})"]
    missing += [] if find_spec("bitsandbytes") else ["the package bitsandbytes (pip install 'poolwise[bnb]')"]
    if missing:
        raise ConfigError(
            f"base_dtype is nf4, which needs {' and '.join(missing)}",
            "wanted 4-bit weights on a CUDA device",
            "use base_dtype: bf16, with 2 bytes a weight",
        )


def loading_options(held: HeldDtype, device: str | torch.device | None) -> dict[str, object]:
    """Return the arguments of ``from_pretrained`` that load weights in a dtype.

    4-bit weights are made on the device, one tensor at a time.
    """
    if held != "nf4":
        return {"dtype": torch.float32 if held == "fp32" else torch.bfloat16}
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    place = torch.device(device or get_device_name())
    return {"dtype": torch.bfloat16, "quantization_config": quantisation, "device_map": {"": place}}


def widen_vectors(model: PreTrainedModel) -> None:
    """Hold norms and biases in fp32: they are few, and layer norms do not accept weights narrower than their input."""
    for weight in model.parameters():
        if weight.ndim < 2 and weight.is_floating_point():
            weight.data = weight.data.float()
