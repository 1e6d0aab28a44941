"""Make the page docs/reference/api.md from the docstrings of the public API (``import poolwise``)."""

from __future__ import annotations

import inspect
import re
from typing import Any

import poolwise


def api_page() -> str:
    """Return the page: one section a public name, in the order of the table."""
    names = [name for name in poolwise.__all__ if name != "__version__"]
    lines = ["# Python API", ""]
    lines += ["`import poolwise` gives these names and no others; torch is imported when a name first needs it.", ""]
    lines += ["| name | what it is |", "|---|---|"]
    lines += [f"| [`{name}`](#{name.lower()}) | {_first_line(getattr(poolwise, name))} |" for name in names]
    for name in names:
        lines += ["", f"## {name}", "", *_section(name, getattr(poolwise, name))]
    return "\n".join(lines) + "\n"


def _first_line(found: Any) -> str:
    return _plain((inspect.getdoc(found) or "").partition("\n\n")[0].replace("\n", " "))


def _plain(text: str) -> str:
    """Return a docstring's text as Markdown."""
    return (
        re.sub(r"``([^`]+)``", r"`\1`", text).replace("|", "\\|")
        if "|" in text
        else re.sub(r"``([^`]+)``", r"`\1`", text)
    )


def _section(name: str, found: Any) -> list[str]:
    lines = ["```python", _signature(name, found), "```", ""] if _has_signature(found) else []
    return [*lines, *_body(inspect.getdoc(found) or "")]


def _has_signature(found: Any) -> bool:
    return inspect.isfunction(found) or (inspect.isclass(found) and not issubclass(found, Exception))


def _signature(name: str, found: Any) -> str:
    if inspect.isclass(found):
        return f"class {name}"
    parameters = []
    for parameter in inspect.signature(found).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{star}{parameter.name}: {_annotation(parameter.annotation)}{default}")
    inside = "".join(f"    {text},\n" for text in parameters)
    return f"{name}(\n{inside}) -> {_annotation(inspect.signature(found).return_annotation)}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _body(doc: str) -> list[str]:
    """Return a docstring as Markdown: its sections as lists, its examples as code."""
    lines: list[str] = []
    is_code = False
    for line in doc.splitlines():
        code = line.strip().startswith((">>>", "..."))
        if code and not is_code:
            lines += ["```python"]
        if is_code and not code and not line.strip():
            lines += ["```"]
            is_code = False
        is_code = is_code or code
        if is_code:
            lines.append(line.strip().removeprefix(">>> ").removeprefix("... ") if code else f"# {line.strip()}")
        elif line in ("Args:", "Raises:", "Example:", "Returns:"):
            lines += ["", f"**{line[:-1]}**" if line != "Example:" else "**Example**", ""]
        elif match := re.fullmatch(r"    (\w+): (.*)", line):
            lines.append(_plain(f"- `{match[1]}`: {match[2]}"))
        elif line.startswith("        "):
            lines.append(_plain(f"  {line.strip()}"))
        elif match := re.match(r"(Raises|Law|Source): ", line):
            lines += ["", _plain(f"**{match[1]}:** {line.removeprefix(match[0])}")]
        else:
            lines.append(_plain(line))
    whole = [*lines, "```"] if is_code else lines
    return [line for line, before in zip(whole, ["", *whole], strict=False) if line or before]
