"""Limits of a base and a device, checked before the first job: lengths, layers, attentions, precision."""

from __future__ import annotations

from typing import Any

from poolwise.attentions import parse_attention
from poolwise.config import Recipe, TrainConfig, too_wide
from poolwise.design import narrowest, parse_design
from poolwise.errors import ConfigError, ModelError
from poolwise.ranks import visible_gpus


def require_possible(recipe: Recipe) -> None:
    """Check a recipe against the configuration of its base, which must be readable, and against the device.

    Raises: ConfigError that lists all problems.
    """
    from poolwise.models.bases import base_config
    from poolwise.training.trackers import missing_trackers

    config = base_config(recipe.base)
    problems = [*_layers(recipe, config), *_lengths(recipe, config), *_prompts(recipe, config), *_precision(recipe)]
    width, narrow = narrowest(recipe.designs, config.hidden_size)
    problems += [problem] if (problem := too_wide(recipe.train, width, narrow)) else []
    problems += [problem] if (problem := missing_trackers(recipe.train.report_to)) else []
    problems += _processes(recipe) + _special_tokens(recipe)
    if problems:
        raise ConfigError("\n".join(problems))


def _layers(recipe: Recipe, config: Any) -> list[str]:
    problems = []
    for name in recipe.designs:
        try:
            parse_design(name).require_layers(config.num_hidden_layers)
            parse_design(name).require_width(config.hidden_size)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _lengths(recipe: Recipe, config: Any) -> list[str]:
    """Return the maximum lengths above the base's positions or, with partial attention, above its sliding window.

    A design that lets the base read more than the text, such as ``echo``, has less of each.
    """
    asked = {"train.max_tokens": recipe.train.max_tokens}
    asked |= {"eval.max_tokens": recipe.eval.max_tokens} if recipe.eval.max_tokens else {}
    positions = getattr(config, "max_position_embeddings", None)
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    partial = [name for name in recipe.designs if parse_attention(parse_design(name).attention).is_partial]
    base, drop = f"of base {recipe.base!r}", " or drop these designs"
    limits = [(positions, f"the positions {base}", "")]
    limits += [(window, f"the sliding window {base}, for {', '.join(partial)}", drop)] * bool(partial)
    for name in recipe.designs:
        design = parse_design(name)
        if design.reads_more:
            limit = min((most for most in (positions, window if name in partial else None) if most), default=None)
            most = None if limit is None else design.most_tokens(limit)
            limits.append((most, f"because {name} reads more than the text and the limit {base} is {limit}", drop))
    problems = [
        f"{key} is {value}; wanted at most {limit}, {what}; lower {key}{instead}"
        for limit, what, instead in limits
        for key, value in asked.items()
        if limit is not None and value > limit
    ]
    if recipe.adapt is not None and positions is not None and recipe.adapt.max_tokens > positions:
        key, what = "adapt.max_tokens", limits[0][1]
        problems.append(f"{key} is {recipe.adapt.max_tokens}; wanted at most {positions}, {what}; lower it")
    return problems


def _prompts(recipe: Recipe, config: Any) -> list[str]:
    from poolwise.models.families import refuse_prompt_attention

    names = [name for name in recipe.designs if parse_attention(parse_design(name).attention).on_prompt]
    if not names:
        return []
    try:
        refuse_prompt_attention(config)
    except ModelError as error:
        return [f"{', '.join(names)}: {error}"]
    return []


def _special_tokens(recipe: Recipe) -> list[str]:
    from poolwise.models.bases import require_prompts

    used = {text for found in recipe.prompts.values() for text in (found.query, found.document) if text}
    if not used or not recipe.split_special_tokens:
        return []
    try:
        require_prompts(recipe.base, sorted(used))
    except ConfigError as error:
        return [str(error)]
    return []


def _precision(recipe: Recipe) -> list[str]:
    asked = {"train.precision": recipe.train.precision, "eval.precision": recipe.eval.precision}
    keys = [key for key, value in asked.items() if value == "bf16"]
    if not keys or has_bf16(device := _device()):
        return []
    return [f"{' and '.join(keys)}: bf16; {device} cannot compute in bf16; wanted fp32, or auto (fp32 on this device)"]


def _processes(recipe: Recipe) -> list[str]:
    from poolwise.kernels.devices import require_processes

    count = recipe.train.processes
    try:
        require_sharers(recipe.train, count)
        require_processes(count, None, len(visible_gpus()))
    except ConfigError as error:
        return [str(error)]
    if recipe.adapt is not None and count > recipe.adapt.batch_size:
        return [f"train.processes is {count}; wanted at most adapt.batch_size, {recipe.adapt.batch_size}; lower it"]
    return []


def require_sharers(train: TrainConfig, num_processes: int) -> None:
    """Raise ConfigError if a training shares out its weights, but has one process only."""
    if train.shard and num_processes == 1:
        raise ConfigError(
            "train.shard with one process: nothing shares the weights",
            "wanted two processes or more",
            "set train.processes, start poolwise train with torchrun, or leave train.shard out",
        )


def _device() -> str:
    from sentence_transformers.util import get_device_name

    return str(get_device_name())


def has_bf16(device: str) -> bool:
    """Return whether a device can multiply in bf16 at all, fast or slow, by trying it."""
    import torch

    try:
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            ones = torch.ones(8, 8, device=device)
            return (ones @ ones).dtype == torch.bfloat16
    except (RuntimeError, NotImplementedError):
        return False
