"""Writes a corrected copy of a model, for faults that a setting fixes. The original is never changed.

The copy is examined again before it gets its name: a setting that does not turn its line to pass is taken back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from poolwise.checks.attention import claimed_attention, config_path, transformer_path
from poolwise.checks.check import Check, Diagnosis, Fix
from poolwise.checks.diagnose import OnProgress, diagnose
from poolwise.checks.lookup import Found
from poolwise.checks.pooling import find_pooling, keys_for, pooling_path
from poolwise.checks.subject import Subject, examined, read_json, read_modules
from poolwise.errors import ModelError
from poolwise.hub import is_hub_id, snapshot
from poolwise.models.load import load_foreign
from poolwise.storage.new_folders import require_new_folder
from poolwise.storage.whole_files import whole_folder

_RANK = {"pass": 0, "skip": 1, "warn": 2, "fail": 3}


def fix_model(
    found: Found, subject: Subject, diagnosis: Diagnosis, out: Path, device: str | None, on_progress: OnProgress
) -> Fix:
    """Write a copy of a model in which settings are corrected, and return it with the checks of the copy.

    Args:
        subject: the loaded original, which ``diagnosis`` is about.
        out: an empty or new folder; it appears when the copy is complete and was examined.
    Raises: ModelError if no setting fixes anything, or the copy would be worse elsewhere; ConfigError if ``out`` is
        not empty.
    """
    require_new_folder(out)
    wrong = {check.name: check for check in diagnosis if check.status in ("warn", "fail")}
    if found.kind != "sentence-transformers":
        raise ModelError(
            f"{found.name} is no model of sentence-transformers' modules",
            "wanted one, because only its settings can be corrected",
            "build or train the model again with poolwise" if found.kind == "poolwise" else "",
        )
    if found.needs_code:
        raise ModelError(
            f"{found.name} needs Python code of its own", "wanted a model of stock modules", "correct it by hand"
        )
    tried = [name for name in FIXES if name in wrong]
    if not tried:
        left = f": {', '.join(wrong)} cannot be fixed by one" if wrong else ": every check passed"
        raise ModelError(f"no setting of {found.name} to correct{left}", hint="the table says what to do")
    source = _whole(found)
    with whole_folder(out) as partial:
        while True:
            _copy(source, partial)
            with examined(subject):
                changes = {name: said for name in tried if (said := FIXES[name].apply(partial, subject))}
            if not changes:
                raise ModelError(
                    f"no setting of {found.name} corrects {', '.join(tried)}", hint="the table says what to do"
                )
            copy = diagnose(load_foreign(str(partial), device=device), partial, on_progress, _of_code(diagnosis))
            statuses = {check.name: check.status for check in copy}
            fixed = [name for name in changes if statuses[name] == "pass"]
            if fixed == list(changes):
                break
            tried = fixed
            if not tried:
                raise ModelError(
                    f"corrected settings of {found.name} do not fix {', '.join(changes)}",
                    hint="the table says what to do; nothing was written",
                )
        if worse := [c.name for c in diagnosis if _RANK[statuses[c.name]] > max(_RANK[c.status], 1)]:
            raise ModelError(
                f"correcting {', '.join(changes)} makes {', '.join(worse)} worse", hint="nothing was written"
            )
    return Fix(str(out), changes, copy.checks)


def _of_code(diagnosis: Diagnosis) -> tuple[Check, ...]:
    return tuple(check for check in diagnosis if check.name == "custom code")


def _whole(found: Found) -> Path:
    path = Path(found.name).expanduser()
    if path.is_dir():
        return path
    assert is_hub_id(found.name)
    return snapshot(found.name, ["*"])


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    # Files in the hub's cache are links; a copy holds the files themselves.
    shutil.copytree(source, target, symlinks=False, ignore=shutil.ignore_patterns(".git", ".cache"))


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    stored = read_json(path)
    change(stored)
    path.write_text(json.dumps(stored, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _set(path: Path, **values: Any) -> None:
    _change(path, lambda stored: stored.update(values))


def _fix_attention(folder: Path, subject: Subject) -> str:
    if claimed_attention(subject)[0] != "bidirectional":
        return ""
    _set(folder / config_path(subject), is_causal=False)
    return "is_causal: false in config.json"


def _fix_eos(folder: Path, subject: Subject) -> str:
    place = folder / transformer_path(subject)
    file, eos = place / "tokenizer.json", subject.tokenizer.eos_token
    if eos is None or not file.is_file():
        return ""
    before = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    bare = before("a", add_special_tokens=False)["input_ids"]
    full = before("a")["input_ids"]
    start = next((place for place in range(len(full)) if full[place:][: len(bare)] == bare), 0)
    prefix = before.convert_ids_to_tokens(full[:start])
    _set(file, post_processor=_template(prefix, eos, before.get_vocab()))
    return f"{eos!r} appended by the post-processor in tokenizer.json"


def _template(prefix: list[str], eos: str, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """Return the post-processor of a tokenizer.json that puts a text between a prefix and EOS."""

    def special(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [*map(special, prefix), first, special(eos)],
        "pair": [*map(special, prefix), first, special(eos), second, special(eos)],
        "special_tokens": {
            name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in dict.fromkeys([*prefix, eos])
        },
    }


def _fix_padding_token(folder: Path, subject: Subject) -> str:
    eos = subject.tokenizer.eos_token or subject.tokenizer.unk_token
    if not subject.has_lent_padding or eos is None:
        return ""
    place = folder / transformer_path(subject)
    _set(place / "tokenizer_config.json", pad_token=eos)
    if (place / "special_tokens_map.json").is_file():
        _set(place / "special_tokens_map.json", pad_token=eos)
    return f"pad_token: {eos!r} in tokenizer_config.json"


def _fix_length(folder: Path, subject: Subject) -> str:
    if (positions := subject.positions) is None:
        return ""
    place = folder / transformer_path(subject)
    _set(place / "sentence_bert_config.json", max_seq_length=positions)
    _set(place / "tokenizer_config.json", model_max_length=positions)
    return f"max_seq_length: {positions} in sentence_bert_config.json"


def _fix_mask(folder: Path, subject: Subject) -> str:
    path = folder / transformer_path(subject) / "tokenizer_config.json"
    names = read_json(path).get("model_input_names")
    if not names or "attention_mask" in names:
        return ""
    _set(path, model_input_names=[*names, "attention_mask"])
    return "attention_mask in model_input_names of tokenizer_config.json"


def _fix_side(folder: Path, subject: Subject) -> str:
    other = "left" if subject.tokenizer.padding_side == "right" else "right"
    _set(folder / transformer_path(subject) / "tokenizer_config.json", padding_side=other)
    return f"padding_side: {other} in tokenizer_config.json"


def _fix_pooling(folder: Path, subject: Subject) -> str:
    path, found = pooling_path(subject), find_pooling(subject)
    module = next((module for module in subject.model if hasattr(module, "pooling_mode")), None)
    if path is None or found is None or not found.text or module is None or not isinstance(module.pooling_mode, str):
        return ""
    _change(folder / path, lambda stored: stored.update(keys_for(module.pooling_mode)))
    return f"pooling_mode: {module.pooling_mode} in {path}, in the older keys too"


def _fix_normalisation(folder: Path, subject: Subject) -> str:
    path = folder / "modules.json"
    modules = read_modules(folder)
    is_norm = [str(module.get("type", "")).endswith(".Normalize") for module in modules]
    if sum(is_norm) < 2:
        return ""
    kept = [m for m, norm, later in zip(modules, is_norm, [*is_norm[1:], False], strict=True) if not (norm and later)]
    for place, module in enumerate(kept):
        module["idx"] = place
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return f"{len(modules) - len(kept)} Normalize removed from modules.json"


@dataclass(frozen=True)
class Correction:
    """What corrects a line in a copy.

    Args:
        setting: which setting it changes.
        apply: changes it in the copy's folder and returns what it changed, or an empty text if it does not apply.
    """

    setting: str
    apply: Callable[[Path, Subject], str]


_EOS = "EOS in the post-processor of `tokenizer.json`, after BOS and the text"
FIXES: dict[str, Correction] = {
    "attention": Correction(
        "`is_causal: false` in `config.json`, if the model claims to be bidirectional", _fix_attention
    ),
    "eos": Correction(_EOS, _fix_eos),
    "truncation": Correction(_EOS, _fix_eos),
    "padding token": Correction("`pad_token` in `tokenizer_config.json`: EOS", _fix_padding_token),
    "max length": Correction("`max_seq_length` in `sentence_bert_config.json`: the positions", _fix_length),
    "batch invariance": Correction("`attention_mask` in `model_input_names` of `tokenizer_config.json`", _fix_mask),
    "padding side": Correction("`padding_side` in `tokenizer_config.json`", _fix_side),
    "pooling": Correction("both kinds of keys in the pooling's `config.json`, if they disagree", _fix_pooling),
    "normalisation": Correction("`modules.json`: one Normalize of several in a row", _fix_normalisation),
}
"""What corrects a line, by its name."""
