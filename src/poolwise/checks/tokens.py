"""Checks of what is read: chat template, BOS, EOS, truncation, padding token, maximum length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolwise.checks.check import Check, Status
from poolwise.checks.pooling import reads_last
from poolwise.checks.probe_texts import MIXED
from poolwise.checks.subject import NO_LIMIT, Subject, num_embeddings

_WORD = "dog "


def _token(subject: Subject, number: int) -> str:
    return repr(subject.tokenizer.convert_ids_to_tokens(number))


def _promised(subject: Subject, setting: str) -> bool:
    """Return whether the tokenizer's configuration promises BOS or EOS (``add_bos_token``, ``add_eos_token``)."""
    stored = subject.settings("tokenizer_config.json")
    return bool(stored.get(setting, getattr(subject.tokenizer, "init_kwargs", {}).get(setting, False)))


def wraps_in_chat_template(subject: Subject) -> bool:
    """Return whether the model puts texts into the tokenizer's chat template."""
    return bool(subject.features(["a dog"]).get("modality") == "message")


def _long_text(subject: Subject) -> str | None:
    """Return a text that is truncated; None if the model has no limit."""
    return None if subject.room == NO_LIMIT else _WORD * (subject.room + 8)


def check_tokens(subject: Subject) -> list[Check]:
    """Return the checks of chat template, BOS, EOS, truncation, padding token and maximum length."""
    long = _long_text(subject)
    cut = subject.ids(long) if long is not None else None
    short = [subject.ids(text) for text in MIXED]
    is_wrapped = wraps_in_chat_template(subject)
    return [
        _check_template(subject, is_wrapped),
        _check_bos(subject, [*short, *([cut] if cut else []), subject.ids(MIXED[0], "query: ")], is_wrapped),
        _check_eos(subject, short, is_wrapped),
        _check_truncation(subject, short, cut),
        _check_padding_token(subject, short),
        _check_length(subject, cut),
    ]


def _check_template(subject: Subject, is_wrapped: bool) -> Check:
    if subject.backbone is not None:
        return Check("chat template", "pass", "not applied: poolwise reads the text, and EOS after it")
    if not is_wrapped:
        return Check("chat template", "pass", "not applied")
    shown = subject.tokenizer.decode(subject.ids("a dog"))
    return Check(
        "chat template",
        "warn",
        f"every text is wrapped in it: {' '.join(shown.split())!r} for 'a dog'",
        "plain texts, unless the model was trained with the template",
        "unless it was trained with the template, keep only text in modality_config of sentence_bert_config.json",
    )


def _check_bos(subject: Subject, rows: Sequence[Sequence[int]], is_wrapped: bool) -> Check:
    tokenizer = subject.tokenizer
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    if bos is None:
        return Check("bos", "skip", "the tokenizer has no BOS token")
    have = [bool(row) and row[0] == bos for row in rows]
    is_promised = _promised(subject, "add_bos_token") and not is_wrapped
    measured = {"id": bos, "is_first": all(have), "is_promised": is_promised}
    if all(have):
        return Check("bos", "pass", f"every text begins with {_token(subject, bos)}", "", "", measured)
    if any(have):
        found = f"{_token(subject, bos)} begins {sum(have)} of {len(have)} texts (short, truncated, with a prompt)"
    elif is_promised:
        found = f"add_bos_token is set, but texts begin with {_token(subject, rows[0][0])}"
    else:
        return Check("bos", "pass", f"not added; the tokenizer's {_token(subject, bos)} is not used", "", "", measured)
    wanted = f"{_token(subject, bos)} first in every text, or in none"
    return Check("bos", "fail", found, wanted, "add it in the post-processor of tokenizer.json", measured)


def _last_special(subject: Subject, rows: Sequence[Sequence[int]]) -> int | None:
    """Return the special id that ends all rows; None if they end in different or ordinary ids."""
    special = {*subject.tokenizer.all_special_ids, *subject.tokenizer.added_tokens_decoder}
    ends = {row[-1] for row in rows if row}
    return ends.pop() if len(ends) == 1 and ends <= special else None


def _check_eos(subject: Subject, short: Sequence[Sequence[int]], is_wrapped: bool) -> Check:
    tokenizer = subject.tokenizer
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    end = _last_special(subject, short)
    pools_last = reads_last(subject)
    is_promised = _promised(subject, "add_eos_token") and not is_wrapped
    measured: dict[str, Any] = {"id": eos, "last_id": end, "is_promised": is_promised, "is_pooled_alone": pools_last}
    if end is not None:
        same = "" if end == eos else f" (eos_token is {tokenizer.eos_token!r})"
        return Check("eos", "pass", f"every text ends in {_token(subject, end)}{same}", "", "", measured)
    if eos is None:
        if not pools_last:
            return Check("eos", "skip", "the tokenizer has no EOS token", "", "", measured)
        hint = "add an EOS token to the tokenizer, and append it"
        return Check("eos", "fail", "the tokenizer has no EOS token", "one last token for all texts", hint, measured)
    if subject.hides_end(MIXED[0]):
        found = f"{_token(subject, eos)} is appended, but the mask leaves it out as padding"
        hint = "make the mask from lengths, not from ids: padding and EOS have one id"
        return Check("eos", "fail" if pools_last else "warn", found, "EOS in the mask", hint, measured)
    ends = sorted({_token(subject, row[-1]) for row in short if row})
    found = f"texts end in {', '.join(ends[:4])}"
    wrong = pools_last or is_promised or any(row and row[-1] == eos for row in short)
    if not wrong:
        found = f"not appended; the pooling does not read the last token alone ({found})"
        return Check("eos", "pass", found, "", "", measured)
    why = "; the pooling reads the last token" if pools_last else "; add_eos_token is set" if is_promised else ""
    hint = "append it in the post-processor of tokenizer.json"
    return Check("eos", "fail", found + why, _token(subject, eos), hint, measured)


def _check_truncation(subject: Subject, short: Sequence[Sequence[int]], cut: Sequence[int] | None) -> Check:
    if cut is None:
        return Check("truncation", "skip", "the model has no limit of tokens; see max length")
    end = _last_special(subject, short)
    if end is None:
        return Check("truncation", "skip", "short texts have no EOS either; see eos")
    measured = {"num_tokens": len(cut), "last_id": cut[-1] if cut else None}
    if cut and cut[-1] == end:
        return Check("truncation", "pass", f"a truncated text ends in {_token(subject, end)} too", "", "", measured)
    found = f"a text cut at {len(cut)} tokens ends in {_token(subject, cut[-1])}"
    status: Status = "fail" if reads_last(subject) else "warn"
    hint = "append EOS by id after truncation, or in the post-processor of tokenizer.json"
    return Check("truncation", status, found, _token(subject, end), hint, measured)


def _check_padding_token(subject: Subject, short: Sequence[Sequence[int]]) -> Check:
    tokenizer = subject.tokenizer
    if subject.backbone is not None:
        tokens = subject.backbone.tokens
        pad = f"padding is {_token(subject, tokens.pad_id)}"
        return Check("padding token", "pass", f"{pad}; masks are made from lengths", "", "", {"id": tokens.pad_id})
    if subject.has_lent_padding:
        found = "the tokenizer has no padding token that the transformer embeds, so it cannot read a batch"
        wanted = f"a padding token below id {num_embeddings(subject)}"
        return Check(
            "padding token", "fail", found, wanted, "set pad_token in tokenizer_config.json, to EOS if need be"
        )
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    mask = subject.features(MIXED).get("attention_mask")
    measured: dict[str, Any] = {"id": pad, "is_eos": pad == eos}
    name = f"{_token(subject, pad)}, which is EOS" if pad == eos else _token(subject, pad)
    if mask is None:
        return Check("padding token", "skip", f"{name}; the tokenizer returns no mask: see batch invariance")
    counts = [int(count) for count in mask.sum(dim=1)]
    wanted_counts = [len(row) for row in short]
    if counts != wanted_counts:
        found = f"{name}; the mask of a batch keeps {counts} tokens of texts with {wanted_counts}"
        hint = "make the mask from lengths, not from ids"
        return Check("padding token", "fail", found, "a mask that keeps every token of a text", hint, measured)
    kept = "; EOS at the end of a text is not masked" if pad == eos else ""
    return Check("padding token", "pass", name + kept, "", "", measured)


def _check_length(subject: Subject, cut: Sequence[int] | None) -> Check:
    limit, positions = subject.limit, subject.positions
    measured = {"limit": limit, "positions": positions, "longest": len(cut) if cut is not None else None}
    shown = f"{limit} tokens" if limit is not None else "no limit"
    of = f", {positions} positions" if positions else ""
    wanted = f"at most {positions} tokens" if positions else "a limit"
    hint = f"set max_seq_length to at most {positions}" if positions else "set max_seq_length"
    if cut is not None and len(cut) > subject.longest_row:
        return Check("max length", "fail", f"{shown}, but a text of {len(cut)} is not cut", wanted, hint, measured)
    if positions and (limit is None or limit > positions):
        return Check("max length", "fail", f"{shown}{of}", wanted, hint, measured)
    return Check("max length", "pass", f"{shown}{of}", wanted, "", measured)
