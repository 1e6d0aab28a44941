"""Texts far longer than a model reads: a part of them is tokenised, which gives the same ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Ids = tuple[list[int], int]
"""The token ids of a text with its prompt, and how many of the first ones are the prompt's."""
CHARACTERS = 16
"""Of a text for each token that is wanted: four times as many as English has."""
LEAST = 20_000
"""Characters that are tokenised in any case."""
MARGIN = 32
"""Tokens beside the cut that may differ from those of the whole text."""
_SPACE = re.compile(r"\s")


def tokenise_in_part(
    tokenise: Callable[[list[str]], list[Ids]], texts: Sequence[str], num_tokens: int, *, from_end: bool = False
) -> tuple[list[Ids], list[str]]:
    """Return the ids of each text or of a part of it, and that part.

    Tokenisers take some 200 bytes of memory for each character, so one document of 50 MB would take 10 GiB.

    Law: the first ``num_tokens`` ids are those of the whole text; with ``from_end``, the last.

    Args:
        tokenise: returns the ids of some texts with a prompt before them.
    """
    parts = [_part(text, num_tokens, from_end) for text in texts]
    found = tokenise(parts)
    wanted = max(num_tokens, LEAST // CHARACTERS)
    # A text may have few tokens for its length: many spaces, or words that are one token.
    while short := [
        place
        for place, (text, part, (ids, num_prompt)) in enumerate(zip(texts, parts, found, strict=True))
        if len(part) < len(text) and len(ids) < num_prompt + num_tokens + MARGIN
    ]:
        wanted *= 8
        for place in short:
            parts[place] = _part(texts[place], wanted, from_end)
        for place, ids in zip(short, tokenise([parts[place] for place in short]), strict=True):
            found[place] = ids
    return found, parts


def _part(text: str, num_tokens: int, from_end: bool) -> str:
    """Return the part of a text that should have so many tokens; it is cut at white space where there is any."""
    wanted = max(CHARACTERS * num_tokens, LEAST)
    if len(text) <= 2 * wanted:
        return text
    if from_end:
        first = len(text) - 2 * wanted
        space = _SPACE.search(text, first, first + wanted)
        return text[space.start() if space else first :]
    space = _SPACE.search(text, wanted, 2 * wanted)
    return text[: space.start() if space else 2 * wanted]
