"""The part of a report on adaptation: training of the base before bidirectional designs start from it."""

from __future__ import annotations

from poolwise.report.amounts import count_text, gib_text, seconds_text, share_text, short_count_text
from poolwise.report.blocks import Block, Definitions
from poolwise.report.figures.curves import adaptation_figure
from poolwise.results import Results, StudyResults


def adaptation_warnings(results: Results) -> list[str]:
    """Return the warning for the top of a report: a difference between attentions has a second cause."""
    return [f"{info.note[0].upper()}{info.note[1:]}."] if (info := results.adaptation) else []


def adaptation_blocks(study: StudyResults) -> list[Block | None]:
    """Return what was done, its cost and its loss; nothing if the base was not adapted."""
    if (info := study.results.adaptation) is None:
        return []
    made, losses = info.made, info.curve.loss
    facts = [
        (
            "Steps",
            f"{count_text(made.steps)}, {made.method}, seed {made.seed}; one base for all designs and seeds",
        ),
        ("Masked", f"{share_text(made.mask_share)} of each text's tokens, replaced by {made.mask_token}"),
        ("Texts", f"{count_text(made.num_texts)} to sample from"),
        ("Trained parameters", short_count_text(info.trainable_parameters)),
    ]
    if losses:
        facts.append(("Loss", f"{losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last"))
    if cost := study.measured.costs.get(info.run):
        took = [seconds_text(cost.train_seconds), f"{count_text(cost.train_tokens_per_second)} tokens/s"]
        facts.append(("Cost", ", ".join([*took, f"peak {gib_text(cost.train_peak_memory_gib)}"])))
    facts.append(("Stored in", f"{info.run}/base, key {made.key}"))
    return [Definitions(facts), adaptation_figure(info.curve)]
