"""Pages with generated parts: replaces the text between two marks and keeps the rest."""

from __future__ import annotations


def replace_between(text: str, name: str, content: str) -> str:
    """Return a page with what stands between its marks ``<!-- name -->`` and ``<!-- /name -->`` exchanged."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = text.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"
