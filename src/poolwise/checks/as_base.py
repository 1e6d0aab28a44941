"""Examines a base, a transformer without an embedding head: what poolwise can build on it, and what it will do."""

from __future__ import annotations

from collections.abc import Sequence

from sentence_transformers.base.modules import Normalize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from poolwise.base_dtypes import HeldDtype
from poolwise.checks.attention import kernel_reaches
from poolwise.checks.check import LINES, Check, Diagnosis
from poolwise.checks.diagnose import OnProgress
from poolwise.checks.states import check_dtype
from poolwise.checks.subject import Subject, examined
from poolwise.checks.vectors import check_finite, check_speed
from poolwise.design import parse_design
from poolwise.errors import ModelError
from poolwise.models.backbone import Backbone
from poolwise.models.base_dtype import hold_base_in
from poolwise.models.bases import load_base, pinned_base
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.families import SUPPORTED
from poolwise.models.pooling import build_pooling

_STEPS = ("loading", "causal", "bidirectional", "finite values", "speed")
_MAX_TOKENS = 256


def diagnose_base(
    name: str,
    device: str | None = None,
    on_progress: OnProgress = lambda done, total, detail: None,
    first: Sequence[Check] = (),
) -> Diagnosis:
    """Return whether a base can be used, and what poolwise will do with its tokens. It is not judged as a model.

    Args:
        name: as in ``locate_base``.
        first: checks that were made before the base was loaded.
    """
    on_progress(0, len(_STEPS), _STEPS[0])
    held = hold_base_in("auto", method="frozen", precisions={"precision": "auto"}, device=device)
    try:
        model, tokenizer = load_base(name, held, device)
    except ModelError as error:
        reason = "; ".join(part for part in (error.got, error.wanted) if part)
        return Diagnosis("base", (Check("usable as a base", "fail", f"no: {reason}", "", error.hint), *first))
    found: list[Check] = list(first)
    built: dict[str, EmbeddingModel] = {}
    for place, attention in enumerate(("causal", "bidirectional"), start=1):
        on_progress(place, len(_STEPS), attention)
        made = _build(name, model, tokenizer, attention, held, device)
        if isinstance(made, EmbeddingModel):
            built[attention] = made
            found.append(_check_attention(made, attention))
        else:
            found.append(Check(attention, "warn", f"no: {made.got}", f"{attention} in all layers", made.hint))
    found.append(_usable(model, list(built)))
    if built:
        subject = Subject(next(reversed(built.values())))
        found += _told(subject)
        with examined(subject):
            on_progress(3, len(_STEPS), _STEPS[3])
            found += [*check_finite(subject), *check_dtype(subject)]
            on_progress(4, len(_STEPS), _STEPS[4])
            found += check_speed(subject)
    on_progress(len(_STEPS), len(_STEPS), "done")
    order = ["usable as a base", "causal", "bidirectional", *LINES]
    return Diagnosis("base", tuple(sorted(found, key=lambda check: order.index(check.name))))


def _build(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    attention: str,
    held: HeldDtype,
    device: str | None,
) -> EmbeddingModel | ModelError:
    """Return the frozen design ``mean+attention`` over a loaded base, or why it cannot be built."""
    design = parse_design(f"mean+{attention}")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _MAX_TOKENS
    model.requires_grad_(False)
    try:
        backbone = Backbone(
            model,
            tokenizer,
            design=design,
            base=pinned_base(name),
            method="frozen",
            max_tokens=min(_MAX_TOKENS, positions),
            base_dtype=held,
        )
        pooling = build_pooling(design, backbone.get_embedding_dimension(), model.config.num_hidden_layers)
        return EmbeddingModel(modules=[backbone, pooling, Normalize()], device=device)
    except ModelError as error:
        return error


def _check_attention(model: EmbeddingModel, attention: str) -> Check:
    """Return the check of an attention that the probe has verified already: what each layer and kernel does."""
    subject = Subject(model)
    with examined(subject):
        reaches, absent = kernel_reaches(subject)
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    others = {kernel: reach.attention for kernel, reach in reaches.items()}
    wrong = [kernel for kernel, found in others.items() if found != attention]
    layers = next((str(reach) for reach in reaches.values() if reach.attention == attention), "probed as a whole")
    shown = f"yes: {layers}"
    if backbone.attention_kernel:
        shown += f"; with {backbone.attention_kernel} attention, because its usual kernel is not {attention}"
    elif wrong:
        shown += f"; not in {', '.join(wrong)}, which poolwise does not use"
    absent_here = "".join(f"; {kernel}: {reason}" for kernel, reason in absent.items() if kernel in ("eager", "sdpa"))
    return Check(attention, "pass", shown + absent_here, f"{attention} in all layers", "", others)


def _usable(model: PreTrainedModel, attentions: Sequence[str]) -> Check:
    config = model.config.get_text_config()
    size = sum(weight.numel() for weight in model.parameters())
    known = "known to work" if config.model_type in SUPPORTED else "not among the architectures tested, but probed here"
    shown = (
        f"{config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size}, {size / 1e6:.3g} M "
        f"parameters; {known}"
    )
    measured = {"attentions": ", ".join(attentions), "num_parameters": size}
    if not attentions:
        hint = f"architectures known to work: {', '.join(SUPPORTED)}"
        return Check("usable as a base", "fail", f"no: neither attention can be set; {shown}", "", hint, measured)
    only = "" if len(attentions) == 2 else f", for {attentions[0]} designs only"
    return Check("usable as a base", "pass", f"yes{only}: {shown}", "", "", measured)


def _told(subject: Subject) -> list[Check]:
    """Return what poolwise will do with BOS, EOS, padding, chat template and length."""
    backbone, tokenizer = subject.backbone, subject.tokenizer
    assert backbone is not None
    tokens = backbone.tokens
    eos, pad = tokenizer.convert_ids_to_tokens([tokens.eos_id, tokens.pad_id])
    prefix = tokenizer.convert_ids_to_tokens(tokens.prefix)
    own = tokenizer("a")["input_ids"][-1:] == [tokens.eos_id]
    first = (
        f"poolwise puts {', '.join(map(repr, prefix))} first, as the tokenizer does"
        if prefix
        else "none: the tokenizer adds none"
    )
    template = "the tokenizer has one; poolwise never applies it" if tokenizer.chat_template else "none"
    last = (
        f"poolwise appends {eos!r} to every text, after truncation; the tokenizer {'does too' if own else 'does not'}"
    )
    masks = "which is EOS; " if tokens.pad_id == tokens.eos_id else ""
    positions = subject.positions
    return [
        Check("chat template", "pass", template, "", "", {"has_template": bool(tokenizer.chat_template)}),
        Check("bos", "pass", first, "", "", {"id": tokens.prefix[0] if tokens.prefix else None}),
        Check("eos", "pass", last, "", "", {"id": tokens.eos_id, "is_added_by_tokenizer": own}),
        Check("padding token", "pass", f"{pad!r}, {masks}masks are made from lengths", "", "", {"id": tokens.pad_id}),
        Check(
            "max length",
            "pass",
            f"at most {positions} tokens" if positions else "no limit of positions",
            "",
            "",
            {"positions": positions},
        ),
    ]
