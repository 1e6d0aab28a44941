"""Licences as the hub names them, read from the front matter of a model card."""

from __future__ import annotations

from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.storage.yaml_text import MOST_CHARACTERS, parse_value

_NAMES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bsd bsd-2-clause
bsd-3-clause bsd-3-clause-clear cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-3.0 agpl-3.0 mpl-2.0
unlicense llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma deepfloyd-if-license other unknown
"""
HUB_LICENCES = frozenset(_NAMES.split())
"""Names that the hub accepts as ``license`` (huggingface.co/docs/hub/repositories-licenses)."""


def front_matter(text: str) -> dict[str, object]:
    """Return the YAML between the two ``---`` lines at the start of a model card; {} if none can be read."""
    head, sign, rest = text.partition("---\n")
    body, end, _ = rest.partition("\n---")
    if head.strip() or not sign or not end:
        return {}
    try:
        found = parse_value(body)
    except ConfigError:
        return {}
    return found if isinstance(found, dict) else {}


def licence_in(card: Path) -> str:
    """Return the licence that a model card names in its front matter; empty if it names none."""
    try:
        with card.open(encoding="utf-8") as file:
            found = front_matter(file.read(MOST_CHARACTERS))
    except (OSError, UnicodeDecodeError):
        return ""
    names = [found.get("license_name"), found.get("license")]
    return next((name for name in names if isinstance(name, str) and name), "")
