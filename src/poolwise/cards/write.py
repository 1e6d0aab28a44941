"""Writes the card of a saved model: ``card.yaml`` with its facts, and ``README.md`` made from them."""

from __future__ import annotations

from pathlib import Path

import yaml

from poolwise.cards.facts import CardFacts, load_facts
from poolwise.cards.text import card_text
from poolwise.storage.fingerprints import hash_texts
from poolwise.storage.whole_files import write_text

FACTS, CARD = "card.yaml", "README.md"
_HEAD = "# README.md is made from this. A licence that is not known can be filled in; poolwise push then shows it.\n"


def card_files(facts: CardFacts, kept: str | None = None) -> dict[str, str]:
    """Return the text of both files by name.

    Args:
        kept: a README.md that was edited by hand, which stays as it is; None makes it from the facts.
    """
    # The hash is always that of our own text, so that an edited one is still known as edited.
    text = card_text(facts)
    plain = facts.model_copy(update={"readme": hash_texts([text])}).model_dump(mode="json", exclude_defaults=True)
    values = {"schema_version": facts.schema_version, **plain}
    dumped = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    return {FACTS: _HEAD + dumped, CARD: text if kept is None else kept}


def edited_card(folder: Path) -> str | None:
    """Return the README.md of a saved model if somebody changed it by hand; None if it is as it was written."""
    facts, card = load_facts(folder / FACTS), folder / CARD
    if facts is None or not card.is_file():
        return None
    text = card.read_text(encoding="utf-8")
    return None if hash_texts([text]) == facts.readme else text


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write the facts, and README.md unless it was edited by hand; each file whole or not at all."""
    for name, text in card_files(facts, edited_card(folder)).items():
        write_text(folder / name, text)
