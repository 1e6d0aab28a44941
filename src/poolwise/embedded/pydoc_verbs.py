"""The verbs at the start of summaries, and the kind of effect that each describes."""

from __future__ import annotations

from collections.abc import Mapping

_EFFECTS = {
    "give": "return get give retrieve find look fetch compute",
    "test": "check test determine verify assert compare",
    "change": "set add remove delete update change append insert replace clear reset close stop move",
    "create": "create make build construct open start generate initialize instantiate",
    "convert": "convert parse decode encode format transform translate split join normalize expand",
    "transfer": "read load write send print display dump output save receive log",
}

EFFECTS: Mapping[str, str] = {verb: effect for effect, verbs in _EFFECTS.items() for verb in verbs.split()}
"""Kind of effect by verb, in the base form."""

VERBS: Mapping[str, str] = {form: verb for verb in EFFECTS for form in (verb, f"{verb}s", f"{verb}es")}
"""Base form of a verb by its forms at the start of a summary."""
