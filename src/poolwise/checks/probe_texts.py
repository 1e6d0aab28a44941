"""The texts that the checks embed; what they say decides nothing but the anisotropy and the distractor test."""

from __future__ import annotations

MIXED = (
    "A dog.",
    "The committee will publish its report on harbour traffic next week.",
    "How do I convert a list of strings to integers?",
    "Rain is expected in the north, with strong winds along the coast and some sunshine further inland by the evening.",
)
"""Texts of different lengths, for comparisons between batches."""

UNRELATED = (
    *MIXED,
    "She tuned the old violin before the concert began.",
    "Mix the flour with two eggs and let the dough rest for an hour.",
    "The court dismissed the appeal because it was filed too late.",
    "Volcanic ash closed three airports on the island.",
    "Our train to Vienna leaves from platform nine.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "The striker scored twice in the last ten minutes.",
    "Interest rates stayed unchanged for the third month in a row.",
    "Please reset my password and send me a new link.",
    "The museum shows paintings from the seventeenth century.",
    "Antibiotics do not help against a virus.",
    "A red kite circled above the empty field.",
)
"""Sixteen texts about different things, for the anisotropy and for equal vectors."""

RELEVANT = (
    ("Where can I park a bicycle?", "Bicycles may be parked in the covered yard behind the library."),
    ("What causes tides?", "Tides are caused by the pull of the moon on the sea."),
    ("When does the pharmacy open?", "The pharmacy opens at eight on weekdays and at nine on Saturdays."),
    ("Who designed the bridge?", "The bridge was designed by an engineer who had built railways before."),
)
"""Questions, and the sentence that answers each."""

IRRELEVANT = UNRELATED[4:]
"""Sentences that answer none of the questions."""
