"""Names in the code are the field's standard terms: one term for each concept, none for two."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# A word that says nothing of what it names, or that is this project's own: the term to use instead.
BANNED = {
    "told": "message, payload, context, or what it holds",
    "asked": "query, requested",
    "heard": "received",
    "spot": "cursor",
    "around": "sidebar, context",
    "leisure": "without_statement_timeout",
    "patience": "timeout",
    "aims": "spec, desired",
    "most": "max",
    "mend": "repair, fix",
    "mended": "repaired",
    "whose": "owner",
    "anew": "again, re-",
    "nobody": "no_user, anonymous",
    "somebody": "user",
    "tell": "print, format, describe, report",
    "spoken": "message",
    "stray": "orphan, orphaned_multipart",
    "strays": "orphans, orphaned_multiparts",
}
SOURCES = sorted(
    path
    for folder in ("amalga", "uploads")
    for path in (PROJECT / folder).rglob("*.py")
    if "migrations" not in path.parts and not any(part.startswith(".") for part in path.relative_to(PROJECT).parts)
)
SCRIPTS = sorted((PROJECT / "uploads" / "static" / "uploads" / "js").glob("*.js"))
TEMPLATES = sorted((PROJECT / "templates").rglob("*.html"))


def words(name: str) -> set[str]:
    """Return the words of a name in snake case, camel case or kebab case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names(path: Path) -> Iterator[str]:
    """Yield every name that a module defines, binds or takes, and its own."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def advice(found: dict[str, set[str]]) -> str:
    lines = [f"{name}: instead of “{word}”, say {BANNED[word]}" for name, bad in found.items() for word in sorted(bad)]
    return "\n".join(lines)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_names_of_a_module_are_standard_terms(path: Path) -> None:
    found = {name: words(name) & BANNED.keys() for name in names(path)}
    found = {name: bad for name, bad in found.items() if bad}
    assert not found, advice(found)


@pytest.mark.parametrize("path", [*SCRIPTS, *TEMPLATES], ids=lambda path: path.name)
def test_names_of_scripts_and_templates_are_standard_terms(path: Path) -> None:
    found = {path.stem: words(path.stem) & BANNED.keys()}
    assert not found[path.stem], advice(found)


def test_signals_are_connected_where_the_app_is_made_ready() -> None:
    signal = re.compile(r"\b\w*signals\.\w+\.connect\(|@receiver\(")
    assert {path.name for path in SOURCES if signal.search(path.read_text())} == {"apps.py"}
