"""Reads the documentation of the running Python's standard library, one entry per object, without importing modules.

Source files are parsed, so imports have no side effects. Only a fixed list of harmless modules written in C, which have
no source file, is imported for its docstrings.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poolwise.embedded.pydoc_areas import C_MODULES, FAMILIES, LEFT_OUT
from poolwise.errors import DataError

Kind = Literal["module", "class", "exception", "function"]

_SIGNATURE_LINE = re.compile(r"^[\w.]*\w\(.*\)\s*(-+>.*|:)?$")
_SIGNATURE_START = re.compile(r"^[\w.]*\w\([^)]*\)\s*(-+>\s*(\([^)]*\)|\w+)\s*)?(,|\.|:|--)\s+(?=\w)")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)'\"`\]][.!?:])\s+(?=[A-Z(\"'`])")
# Objects that a running program has put into a C module are not part of its documentation.
_IN_C = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_LONGEST_SUMMARY = 180
_LONGEST_BODY = 900


@dataclass(frozen=True)
class Entry:
    """The documentation of one object.

    ``family`` names a group of modules that stays together when modules are split into training and evaluation.
    ``name`` is qualified within the module, and empty for the module itself. ``signature`` lists the parameters without
    ``self``; ``body`` is everything after the summary, without examples, and may be empty.
    """

    family: str
    module: str
    name: str
    kind: Kind
    signature: str
    summary: str
    body: str

    @property
    def key(self) -> str:
        """The unique key of this entry."""
        return f"{self.module}:{self.name}"

    @property
    def full(self) -> str:
        """Summary and body."""
        return f"{self.summary} {self.body}".strip()


def _without_examples(paragraph: str) -> str:
    """Return the prose of a paragraph: it ends at an interactive example; rules and table borders are dropped."""
    kept = []
    for line in paragraph.splitlines():
        if line.lstrip().startswith(">>>"):
            break
        if any(letter.isalpha() for letter in line):
            kept.append(line.strip())
    return " ".join(" ".join(kept).split())


def split_docstring(text: str) -> tuple[str, str]:
    """Return the summary (one sentence if possible) and the body of a docstring; both may be empty."""
    lines = _SIGNATURE_START.sub("", text.strip()).splitlines()
    while lines and (not lines[0].strip() or _SIGNATURE_LINE.match(lines[0].strip())):
        lines.pop(0)
    paragraphs = [_without_examples(part) for part in re.split(r"\n\s*\n", "\n".join(lines))]
    paragraphs = [part for part in paragraphs if part]
    if not paragraphs:
        return "", ""
    head, *rest = _SENTENCE_END.split(paragraphs[0], maxsplit=1)
    body = " ".join([*rest, *paragraphs[1:]])
    if len(head) > _LONGEST_SUMMARY:
        return "", ""
    if len(body) > _LONGEST_BODY:
        body = body[:_LONGEST_BODY].rsplit(" ", 1)[0]
    return head, body


def _entry(module: str, name: str, kind: Kind, signature: str, doc: str | None) -> Entry | None:
    if not doc:
        return None
    summary, body = split_docstring(inspect.cleandoc(doc))
    if len(re.findall(r"[A-Za-z]{2,}", summary)) < 3:
        return None
    top = module.split(".")[0]
    return Entry(FAMILIES.get(top, top), module, name, kind, signature, summary, body)


def _is_exception(name: str, bases: tuple[str, ...]) -> bool:
    return any(text.endswith(("Error", "Exception", "Warning")) for text in (name, *bases))


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    parts = [part.strip() for part in ast.unparse(node.args).split(",")]
    if parts and parts[0] in ("self", "cls"):
        parts.pop(0)
    return ", ".join(part for part in parts if part)


def _from_node(node: ast.AST, module: str, path: str) -> Iterator[Entry | None]:
    """Yield the entries defined in the body of a module or class, including those under ``if`` and ``try``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            name = f"{path}{child.name}"
            bases = tuple(ast.unparse(base) for base in child.bases)
            kind: Kind = "exception" if _is_exception(child.name, bases) else "class"
            yield _entry(module, name, kind, ", ".join(bases), ast.get_docstring(child))
            yield from _from_node(child, module, f"{name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _entry(module, f"{path}{child.name}", "function", _parameters(child), ast.get_docstring(child))
        elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _from_node(child, module, path)


def _module_name(relative: Path) -> str:
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def iter_sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (module name, file) of every source file below ``root`` to read, sorted by name."""
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        top = relative.parts[0].removesuffix(".py")
        private = top.startswith("_") and top not in FAMILIES
        if private or "-" in top or top in LEFT_OUT or LEFT_OUT & set(relative.with_suffix("").parts):
            continue
        yield _module_name(relative), path


def read_sources(root: Path) -> list[Entry]:
    """Return the entries of all source files below ``root``; if an object is defined twice, the first counts."""
    found: dict[str, Entry] = {}
    for module, path in iter_sources(root):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue  # installations contain template files that are not valid Python
        entries = [_entry(module, "", "module", "", ast.get_docstring(tree)), *_from_node(tree, module, "")]
        for entry in entries:
            if entry is not None:
                found.setdefault(entry.key, entry)
    return list(found.values())


def _members(owner: object, module: str, path: str) -> Iterator[Entry | None]:
    for name, member in sorted(vars(owner).items()):
        if name.startswith("_"):
            continue
        doc = getattr(member, "__doc__", None)
        if isinstance(member, type):
            if member.__module__.split(".")[0] not in (module, module.lstrip("_"), "builtins") or path:
                continue
            kind: Kind = "exception" if issubclass(member, BaseException) else "class"
            yield _entry(module, name, kind, "", doc)
            yield from _members(member, module, f"{name}.")
        elif isinstance(member, _IN_C):
            text = (getattr(member, "__text_signature__", None) or "").strip("()")
            parts = [part.strip() for part in text.split(",")]
            parts = [part for part in parts if part not in ("", "/", "$self", "self", "$module", "$type")]
            yield _entry(module, f"{path}{name}", "function", ", ".join(parts), doc)


def read_builtins(names: tuple[str, ...] = C_MODULES) -> list[Entry]:
    """Return the entries of modules without a source file; modules that this Python does not have are skipped."""
    found: dict[str, Entry] = {}
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for entry in (_entry(name, "", "module", "", module.__doc__), *_members(module, name, "")):
            if entry is not None:
                found.setdefault(entry.key, entry)
    return list(found.values())


def read_library() -> list[Entry]:
    """Return all entries of the running Python's standard library, ordered by module and name.

    Raises: DataError where the library has no source files (a frozen or stripped Python).
    """
    root = Path(sysconfig.get_path("stdlib"))
    entries = read_sources(root) if root.is_dir() else []
    if len(entries) < 1000:
        raise DataError(
            f"found documentation of {len(entries)} objects below {root}",
            "wanted a Python with the source files of its standard library",
            "use a standard CPython, or give your own files for training and tasks",
        )
    return sorted([*entries, *read_builtins()], key=lambda entry: (entry.module, entry.name))
