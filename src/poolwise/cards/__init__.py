"""Model cards: what is known about a saved model, kept in its folder, and the README.md that is written from it."""

from poolwise.cards.facts import (
    BaseFacts,
    BaselineScore,
    CardFacts,
    CategoryScore,
    ModelFacts,
    StudyFacts,
    TaskScoreFacts,
    TrainingFacts,
    load_facts,
)
from poolwise.cards.licences import licence_in
from poolwise.cards.text import card_text
from poolwise.cards.write import CARD, FACTS, card_files, edited_card, write_card

__all__ = [
    "CARD",
    "FACTS",
    "BaseFacts",
    "BaselineScore",
    "CardFacts",
    "CategoryScore",
    "ModelFacts",
    "StudyFacts",
    "TaskScoreFacts",
    "TrainingFacts",
    "card_files",
    "card_text",
    "edited_card",
    "licence_in",
    "load_facts",
    "write_card",
]
