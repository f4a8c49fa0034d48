"""Every regular expression that can receive untrusted text runs in linear time.

`re` has no timeout and blocks other threads. Patterns are therefore constants at the top of their modules, where
these tests find them and time them against texts made of their own literals.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from tests.code.test_architecture import PROJECT, STATIC, module_of, sources
from tests.support.regex_timing import MAX_SECONDS, hostile, slow_units
from uploads.errors import ValidationFailed
from uploads.forms.fields import MAX_TYPED_TAG_CHARACTERS, parse_tags

pytestmark = pytest.mark.slow

PACKAGES = ("amalga", "uploads")
METHODS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
# Examples of character classes: \w \d \s [^<] and so on.
COMMON = ["a", "A", "1", "é", " ", "\n", "\\", '"', "_", "&", "<a>", "a-", "1-", "a.", "aa-1."]
# Modules whose patterns are not constants. Their text comes from operators.
NOT_CONSTANT = {"amalga.settings.env"}  # matching(): of settings
# Reviewed: no part of these can match a text in two ways. Review a new pattern before you add it.
JAVASCRIPT = {
    "drop-target.js": [r"/^image\.\w+$/"],
    "i18n.js": [r"/\{(\w+)\}/g"],
    "tray.js": [r"/^\(\d+ %\) /"],
    "upload-file.js": [r"/<Code>(\w+)<\/Code>/"],
}
# A literal follows a token that cannot end a value; otherwise the slash is a division.
REGEX_LITERAL = re.compile(
    r"(?:^|[=(,:;!&|?{}\[]|return)\s*(/(?![*/])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)", re.MULTILINE
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        yield from ((module_of(path), ast.parse(path.read_text())) for path in sources(PROJECT / package))


def re_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of `re.…()`; test_re_is_used_by_its_name ensures that there are no others."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name != "escape":
                yield node


def constants(module: str, tree: ast.Module) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield the name and the value of each `NAME = re.compile(...)` at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(node.value is call for call in re_calls(node)):
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            yield name, _value(module, name, ast.unparse(node).partition(" = ")[2])


def _value(module: str, name: str, written: str) -> re.Pattern[Any]:
    """Import a module only if its pattern uses other names, because some modules patch libraries when imported."""
    try:
        pattern = eval(written, {"re": re})  # noqa: S307 - our own source
    except NameError:
        pattern = getattr(importlib.import_module(module), name)
    assert isinstance(pattern, re.Pattern), f"{module}.{name}"
    return pattern


def uses() -> dict[str, set[str]]:
    """Return the methods that our code calls, by constant: only those must be fast."""
    calls_by_module = defaultdict(set)
    for _, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=method) if (
                    method in METHODS
                ):
                    calls_by_module[name].add(method)
    return calls_by_module


def all_patterns() -> list[tuple[str, re.Pattern[Any], set[str]]]:
    used = uses()
    return [
        (f"{module}.{name}", pattern, used[name] or {"search"})
        for module, tree in modules()
        for name, pattern in constants(module, tree)
    ]


PATTERNS = all_patterns()


def literals(pattern: str) -> list[str]:
    """Return the words and signs of a pattern as they appear in a text."""
    plain = re.sub(r"\\[bBdDsSwWAZ]|\(\?(?:P<\w+>|<?[=!]|[:>])", " ", pattern)
    return sorted({*re.findall(r"[\w<>/:=-]+", plain), *re.findall(r"[^\s\w]", plain), *COMMON})


def searching(pattern: re.Pattern[Any], method: str) -> Callable[[str], object]:
    """Return the method as a function of one text that finds all matches."""
    call = getattr(pattern, method)
    arguments = [pattern.pattern[:0]] if method in {"sub", "subn"} else []
    encode: Callable[[str], Any] = str.encode if isinstance(pattern.pattern, bytes) else str

    def search(text: str) -> object:
        result = call(*arguments, encode(text))
        return list(result) if method == "finditer" else result

    return search


@pytest.mark.parametrize(("name", "pattern", "methods"), PATTERNS, ids=[name for name, *_ in PATTERNS])
def test_pattern_takes_linear_time(name: str, pattern: re.Pattern[Any], methods: set[str]) -> None:
    text = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    for method in sorted(methods):
        assert slow_units(searching(pattern, method), literals(text)) == [], f"{name}.{method}"


def test_patterns_are_constants_of_their_modules() -> None:
    """Where the test above finds them: not in a function, a class or a call."""
    elsewhere = {
        f"{module}:{call.lineno}"
        for module, tree in modules()
        if module not in NOT_CONSTANT
        for call in re_calls(tree)
        if not any(isinstance(node, ast.Assign | ast.AnnAssign) and node.value is call for node in tree.body)
    }
    assert elsewhere == set()


def test_re_is_used_by_its_name() -> None:
    """No other name for it, no other engine, and none of Django's helpers that compile a text."""
    banned = {"regex", "RegexValidator", "RegexField", "re_path", "fnmatch", "glob"}
    importing_modules = set()
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                importing_modules |= {
                    module for name in node.names if name.name in banned or (name.name == "re" and name.asname)
                }
            elif isinstance(node, ast.ImportFrom):
                importing_modules |= {
                    module for name in node.names if node.module in {"re", "regex"} or name.name in banned
                }
    assert importing_modules == set()


@pytest.mark.parametrize(("bad", "unit"), [
    (r"[\w-]* (?:token|secret) [\w-]* \s* =", "token"), (r"[\w+.-]+://", "a."), (r"(a+)+b", "a"), (r"\s+$", " "),
    (r"<Contents>(.*?)</Contents>", "<Contents>"),
])  # fmt: skip
def test_quadratic_pattern_is_detected(bad: str, unit: str) -> None:
    """The first one is a previous pattern for the redaction of logs."""
    assert unit in literals(bad)
    assert slow_units(re.compile(bad, re.VERBOSE).search, [unit]) != []


# --- URLs -------------------------------------------------------------------------------------


def routes(resolver: URLResolver) -> Iterator[str]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLPattern):
            yield str(entry.pattern)
        else:
            yield from (f"{entry.pattern}{route}" for route in routes(entry))


def test_urls_resolve_in_linear_time() -> None:
    parts = {part for route in routes(get_resolver()) for part in re.findall(r"[\w.-]+/", route)}

    def resolve_path(path: str) -> None:
        try:
            resolve(f"/{path}")
        except Resolver404:
            return

    assert slow_units(resolve_path, [*sorted(parts), *hostile(["a", "1", "admin/uploads/file/"])]) == []


# --- JavaScript -------------------------------------------------------------------------------


def test_patterns_in_javascript_were_reviewed() -> None:
    literals = {path.name: REGEX_LITERAL.findall(path.read_text()) for path in sorted(STATIC.rglob("*.js"))}
    assert {name: patterns for name, patterns in literals.items() if patterns} == JAVASCRIPT
    assert [
        path.name for path in STATIC.rglob("*.js") if re.search(r"\bRegExp\b|\.(matchAll|search)\(", path.read_text())
    ] == []


@pytest.mark.parametrize("patterns", JAVASCRIPT.values(), ids=JAVASCRIPT)
def test_patterns_of_javascript_take_linear_time(patterns: list[str]) -> None:
    """These patterns have the same meaning in Python."""
    for pattern in patterns:
        text = pattern[1 : pattern.rindex("/")].replace(r"\/", "/")
        assert slow_units(re.compile(text, re.ASCII).search, literals(text)) == []


# --- the same for Unicode: to normalize a run of combining marks takes quadratic time ----------


def test_tags_that_are_too_long_are_refused_before_they_are_normalized() -> None:
    marks = "a" + "\u0300\u0323" * (MAX_TYPED_TAG_CHARACTERS // 2 - 1)
    begun = time.thread_time()
    with pytest.raises(ValidationFailed, match="at most 50 characters"):
        parse_tags(marks)
    assert time.thread_time() - begun < MAX_SECONDS / 2
