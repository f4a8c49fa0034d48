"""Names are the field's standard terms: one term for each concept, none for two. A failure names the term to use."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps

from amalga.metrics import registry
from amalga.settings.env import EXTERNAL_VARIABLES, env
from tests.conftest import PROJECT

# Vague or private words, and the terms to use instead.
BANNED = {
    "aims": "spec, desired",
    "anew": "again, re-",
    "around": "sidebar, context",
    "asked": "query, requested",
    "awaited": "waiting",
    "basis": "status",
    "damaged": "corrupted",
    "figure": "statistic, count",
    "figures": "statistics, counts",
    "folded": "normalized",
    "governor": "access_root",
    "heard": "received",
    "leisure": "without_statement_timeout",
    "mend": "repair, fix",
    "mended": "repaired",
    "mends": "repairs",
    "most": "max",
    "nobody": "no_user, anonymous",
    "patience": "timeout",
    "somebody": "user",
    "spoken": "message",
    "spot": "cursor",
    "stray": "orphan, orphaned_multipart",
    "strays": "orphans, orphaned_multiparts",
    "tell": "print, format, describe, report",
    "told": "message, payload, context, or what it holds",
    "trouble": "problem, kind (of a finding)",
    "troubles": "problems, kinds",
    "unread": "unverified",
    "whoever": "user",
    "whose": "owner",
}
# Not allowed as a whole name in Python: name what the variable holds.
BANNED_ALONE = {
    "answer": "response, reply, result",
    "answers": "responses",
    "asks": "requests",
    "crowd": "users, clients, executor",
    "found": "rows, matches, result, or what was found",
    "got": "response, actual",
    "look": "fetch, inspect, check",
    "made": "created, or what was created",
    "met": "statistics",
    "one": "item, or what it is",
    "rest": "remaining",
    "said": "text, output",
    "thing": "item, or what it is",
    "want": "expected",
    "wanted": "expected, desired",
    "why": "reason",
}
# Also not allowed in public names: metrics, logs, JSON, options, settings, the database, URLs.
BANNED_OUTSIDE = BANNED | {
    "agreed": "succeeded, in_sync",
    "away": "unavailable",
    "claim": "lease, declaration",
    "claimed": "declared, unverified, leased",
    "fault": "error",
    "faults": "errors",
    "found": "matches, or what was found",
    "goes": "is_deleted",
    "gone": "deleted",
    "kept": "stored",
    "left": "remaining, skipped",
    "look": "kind, check",
    "made": "created",
    "making": "pending",
    "noted": "recorded",
    "ours": "own, marked",
    "odd": "invalid",
    "silent": "no_response, timeout",
    "wanted": "desired",
    "wrong": "invalid, mismatch",
}

# Claims of a JSON Web Token: RFC 7519.
JWT_CLAIMS = {"oidc_groups_claim", "groups_claim"}

Names = Iterator[tuple[str, str]]  # the place of a name, and the name

SOURCES = sorted(
    path
    for folder in ("amalga", "uploads")
    for path in (PROJECT / folder).rglob("*.py")
    if "migrations" not in path.parts and not any(part.startswith(".") for part in path.relative_to(PROJECT).parts)
)
TOOLS = sorted(path for folder in ("tests", "bench", "deploy") for path in (PROJECT / folder).rglob("*.py"))
SHELL_SCRIPTS = sorted((PROJECT / "deploy").rglob("*.sh"))
SCRIPTS = sorted((PROJECT / "uploads" / "static" / "uploads" / "js").glob("*.js"))
TEMPLATES = sorted((PROJECT / "templates").rglob("*.html"))
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
MEMBER = re.compile(r"[a-z]+(?:_[a-z]+)*")
SHELL_NAME = re.compile(r"(?:^|[;&|(\s])(\w+)(?:=|\(\) *{)|\bfor (\w+) in\b", re.MULTILINE)
EVENT = re.compile(r"[a-z]+(?:_[a-z]+)+\b")
CREATED = re.compile(r"CREATE (?:FUNCTION|TRIGGER|TABLE|INDEX) (\w+)|^    \(?\"(uploads_\w+)\"", re.MULTILINE)


def words(name: str) -> set[str]:
    """Return the words of a name in snake case, camel case or kebab case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def calls(method: re.Pattern[str]) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of functions and methods with such names."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if method.fullmatch(name):
                    yield relative(path), node


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def first_texts(method: str) -> Names:
    """Yield the first argument of such calls, where it is a text."""
    for where, call in calls(re.compile(method)):
        for argument in call.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield where, argument.value
                break


# --- the names of the code -----------------------------------------------------------------------


def identifiers(paths: list[Path] = SOURCES) -> Names:
    """Yield the name of each module, and every name that it defines, binds or accepts."""
    for path in paths:
        yield relative(path), path.stem
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield relative(path), node.name
            elif isinstance(node, ast.arg):
                yield relative(path), node.arg
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield relative(path), node.id


def identifiers_of_tools() -> Names:
    return identifiers(TOOLS)


def shell_names() -> Names:
    """Yield the variables and functions of shell scripts."""
    for path in SHELL_SCRIPTS:
        yield relative(path), path.stem
        yield from ((relative(path), variable or item) for variable, item in SHELL_NAME.findall(path.read_text()))


def scripts() -> Names:
    for path in SCRIPTS:
        yield relative(path), path.stem
        yield from ((relative(path), name) for name in EXPORT.findall(path.read_text()))


def templates() -> Names:
    for path in TEMPLATES:
        yield relative(path), path.stem


# --- public names --------------------------------------------------------------------------------


def metrics() -> Names:
    """Yield the names of metrics, and of their labels."""
    for metric in registry.collect():
        yield "amalga/metrics.py", metric.name
    yield from first_texts("Sample|labels")


def log_events() -> Names:
    for where, text in first_texts("debug|info|warning|error|exception|critical"):
        if match := EVENT.match(text):
            yield where, match[0]


def settings() -> Names:
    for name in env.names_read - EXTERNAL_VARIABLES:
        yield "amalga/settings", name.lower()


def options() -> Names:
    yield from first_texts("add_argument")


def members() -> Names:
    """Yield the keys of dictionaries, including those of JSON, but not the values of texts (`_("…") % {…}`)."""
    for path in SOURCES:
        values = {node.right for node in nodes(path) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)}
        for node in nodes(path):
            keys = node.keys if isinstance(node, ast.Dict) and node not in values else []
            for key in keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and MEMBER.fullmatch(key.value):
                    yield relative(path), key.value


def choices() -> Names:
    """Yield the values of enumerations: they are stored, and appear in JSON."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and any("Choices" in ast.unparse(base) for base in node.bases):
                for line in node.body:
                    value = line.value if isinstance(line, ast.Assign) else None
                    value = value.elts[0] if isinstance(value, ast.Tuple) else value
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield relative(path), value.value


def database() -> Names:
    for model in apps.get_app_config("uploads").get_models():
        where = model.__name__
        yield where, model._meta.db_table
        yield from ((where, field.column) for field in model._meta.concrete_fields if field.column)
        yield from ((where, item.name) for item in [*model._meta.indexes, *model._meta.constraints])
    for path in (PROJECT / "uploads" / "migrations").glob("0*.py"):
        yield from ((relative(path), "".join(name)) for name in CREATED.findall(path.read_text()))


def url_names() -> Names:
    for where, call in calls(re.compile("path|re_path")):
        for keyword in call.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                yield where, str(keyword.value.value)


def advice(bad: list[tuple[str, str, str]], terms: dict[str, str]) -> str:
    return "\n".join(f"{where}: {name}: instead of “{word}”, say {terms[word]}" for where, name, word in bad)


def misnamed(names: Names, terms: dict[str, str]) -> list[tuple[str, str, str]]:
    return sorted(
        {(where, name, word) for where, name in names if name not in JWT_CLAIMS for word in words(name) & terms.keys()}
    )


@pytest.mark.parametrize("names", [identifiers, identifiers_of_tools, shell_names, scripts, templates])
def test_names_in_the_code_are_standard_terms(names: Callable[[], Names]) -> None:
    assert not misnamed(names(), BANNED), advice(misnamed(names(), BANNED), BANNED)


@pytest.mark.parametrize("names", [identifiers, identifiers_of_tools])
def test_variables_and_functions_are_named_by_what_they_hold(names: Callable[[], Names]) -> None:
    bad = sorted({(where, name, name) for where, name in names() if name in BANNED_ALONE})
    assert not bad, advice(bad, BANNED_ALONE)


@pytest.mark.parametrize(
    "names", [metrics, log_events, settings, options, members, choices, database, url_names]
)  # fmt: skip
def test_public_names_are_standard_terms(names: Callable[[], Names]) -> None:
    assert sum(1 for _ in names()) >= 10, "the names are no longer found"
    assert not misnamed(names(), BANNED_OUTSIDE), advice(misnamed(names(), BANNED_OUTSIDE), BANNED_OUTSIDE)


def test_signals_are_connected_only_in_the_app_config() -> None:
    signal = re.compile(r"\b\w*signals\.\w+\.connect\(|@receiver\(")
    assert {path.name for path in SOURCES if signal.search(path.read_text())} == {"apps.py"}
