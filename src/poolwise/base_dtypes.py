"""In which dtype the weights of a base are held and their products computed, and what each dtype requires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
"""Of matrix products, as asked for. "auto" is "bf16" where such products are faster than those of fp32."""
BaseDtype = Literal["auto", "fp32", "bf16", "nf4"]
"""As asked for. "auto" is "bf16" if products are bf16 and the base is frozen, otherwise "fp32"."""
HeldDtype = Literal["fp32", "bf16", "nf4"]
"""As held in memory: 4 bytes a weight, 2 bytes, or about half a byte (4-bit NormalFloat of bitsandbytes)."""


def reason_against(asked: BaseDtype, *, method: str, precisions: Mapping[str, str], adapts: bool = False) -> str | None:
    """Return why weights of a base cannot be held in a dtype, whatever the device; None if they can.

    Args:
        method: how the base is trained: "lora", "frozen" or "full".
        precisions: of matrix products, by the name of the setting: "auto", "fp32" or "bf16".
        adapts: whether the base is adapted and then written with its adapter merged.
    """
    if asked in ("auto", "fp32"):
        return None
    if method == "full":
        return (
            f"base_dtype is {asked} and method is full: most updates of a step are smaller than the spacing of {asked} "
            "weights (1/256 of a weight in bf16) and would be lost; wanted fp32, or auto; or train with method lora"
        )
    if wide := [name for name, precision in precisions.items() if precision == "fp32"]:
        return (
            f"base_dtype is {asked} and {' and '.join(wide)} fp32: products in fp32 would need an fp32 copy of the "
            "weights; wanted bf16 products (precision auto or bf16), or base_dtype fp32"
        )
    if asked == "nf4" and adapts:
        return (
            "base_dtype is nf4 and the recipe has adapt: an adapter cannot be merged into 4-bit weights without loss; "
            "wanted bf16 or fp32, or a recipe without adapt"
        )
    return None
