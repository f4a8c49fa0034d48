"""What commands, checks, settings and the local runner print is plain English, without banned words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.code.test_architecture import PROJECT
from tests.support.words import BANNED, advice, banned_words

# The code that prints to operators. Texts for people are marked for translation, and tested with the pages.
PRINTING = [
    "manage.py", "amalga", "uploads/management", "uploads/checks.py", "uploads/services", "uploads/s3",
]  # fmt: skip
TRANSLATES = {"_", "gettext", "gettext_noop", "ngettext"}
THE_USER_OF_UNIX = "nobody"
BANNED_FOR_OPERATORS = {
    **BANNED,
    r"(?:the|this|which|that|a|no|two|second|main|other) stores?": "storage",
    r"(?:is|are) not usable": "must be …",
    r"look(?:s|ed)? at": "check",
    r"looked up": "checked",
    r"ask again": "run again",
    r"lead \w+ to": "set … to",
    r"has to": "must",
    r"honou?rs?": "supports",
    r"in the clear": "unencrypted",
}


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the sentences in a module that are neither documentation nor marked for translation."""
    tree = ast.parse(path.read_text())
    ignored = {id(node) for translated in ast.walk(tree) for node in _translated(translated)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            ignored.add(id(node.body[0].value))  # type: ignore[attr-defined]  # a docstring is an expression
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in ignored and node.value != THE_USER_OF_UNIX:
            yield f"{path.relative_to(PROJECT)}:{node.lineno}", str(node.value)


def _translated(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TRANSLATES:
        yield from ast.walk(node)


def test_no_text_for_operators_has_banned_words() -> None:
    paths = [PROJECT / name for name in PRINTING]
    modules = [module for path in paths for module in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    matches = list(banned_words([text for module in modules for text in texts(module)], BANNED_FOR_OPERATORS))
    assert not matches, advice(matches)


def test_texts_of_a_module_are_found(tmp_path: Path) -> None:
    path = PROJECT / "manage.py"
    assert "An argument is not UTF-8." in {text for _, text in texts(path)}
