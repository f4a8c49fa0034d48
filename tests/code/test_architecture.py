"""Allowed imports between packages, and other rules of the code."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
APP = PROJECT / "uploads"
STATIC = APP / "static" / "uploads"
MAX_LINES = 500
STORE_LIBRARIES = {"boto3", "botocore", "storages", "urllib3", "s3transfer", "obstore", "requests", "httpx"}

# Package: the packages of Amalga that it may import. Design, "Layout".
MAY_IMPORT = {
    "uploads.errors": set(),
    "uploads.parts": set(),
    "uploads.keys": set(),
    "uploads.humanize": set(),
    "uploads.names": set(),
    "uploads.media_types": set(),
    "uploads.content_headers": {"uploads.names", "uploads.errors"},
    "uploads.failpoints": set(),
    "uploads.encryption": set(),
    "uploads.models": {"uploads.models", "uploads.errors", "uploads.keys", "uploads.names", "uploads.content_headers",
                       "uploads.parts", "uploads.failpoints"},
    "uploads.api.serializers": {"uploads.models", "uploads.parts", "uploads.names", "uploads.errors",
                                "uploads.services"},
    "uploads.listing": {"uploads.listing", "uploads.models", "uploads.names", "uploads.errors"},
    "uploads.s3": {"uploads.s3", "uploads.keys", "uploads.content_headers", "uploads.errors"},
    "uploads.previews": {"uploads.previews"},
    "uploads.forms": {"uploads.forms", "uploads.models", "uploads.parts", "uploads.names", "uploads.errors",
                      "uploads.listing"},
    "uploads.services": {"uploads.services", "uploads.s3", "uploads.models", "uploads.humanize", "uploads.keys",
                         "uploads.parts",
                         "uploads.names", "uploads.media_types", "uploads.content_headers", "uploads.errors",
                         "uploads.previews", "uploads.failpoints", "uploads.encryption"},
    "uploads.actions": {"uploads.actions", "uploads.services", "uploads.models", "uploads.names", "uploads.errors",
                        "uploads.forms", "uploads.failpoints"},
    "uploads.templatetags": {"uploads.media_types", "uploads.humanize"},
    "uploads.staticfiles": set(),
}  # fmt: skip

# Documented by Python and Django in spite of the underscore.
DOCUMENTED = {"_asdict", "_default_manager", "_make", "_meta", "_replace", "_state", "os._exit"}

# Private members of libraries that we use: module, member, and why there is no alternative.
PRIVATE_MEMBERS = {
    ("amalga.db.connection", "_pool"): "psycopg tells a connection its pool by this name alone",
    ("amalga.metrics", "_connection_pools"): "Django lists its pools nowhere else",
    ("uploads.accounts.forms", "allauth.account.internal"): "allauth offers no other way to record an authentication",
    ("uploads.accounts.passkeys", "allauth.mfa.webauthn.internal"): "allauth begins a sign-in in its own pages alone",
    ("uploads.accounts.receivers", "allauth.account.internal"): "as uploads.accounts.forms",
    ("uploads.accounts.views", "allauth.account.internal"): "as uploads.accounts.forms",
    ("uploads.admin.folders", "_get_validation_exclusions"): "Django has no other hook for the fields to validate",
    ("uploads.management.output", "_out"): "the stream in Django's OutputWrapper has no other name",
    ("uploads.s3.client", "_from_testcase"): "Django marks the transaction around a test by this name alone",
}


def sources(folder: Path = APP) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*.py")) if "migrations" not in path.parts)


def module_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, also inside functions, but not for type checking only."""
    names: set[str] = set()
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by name, not by dots"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _running(child)


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_allowed_packages(package: str) -> None:
    ours = [path for path in sources() if within(module_of(path), {package})]
    assert ours
    wrong = {
        f"{module_of(path)} imports {name}"
        for path in ours
        for name in imports(path)
        if top(name) == "uploads"
        and not within(name, MAY_IMPORT[package])
        and name != "uploads.errors"
        and not (name.startswith("uploads.") and name.count(".") == 1 and name in MAY_IMPORT[package])
    }
    assert wrong == set()


def test_every_module_belongs_to_a_known_package() -> None:
    ends = {"uploads", "uploads.accounts", "uploads.api", "uploads.admin", "uploads.apps", "uploads.checks",
            "uploads.context_processors", "uploads.middleware", "uploads.urls", "uploads.views",
            "uploads.management", "uploads.wsgi", *MAY_IMPORT}  # fmt: skip
    assert {module_of(path) for path in sources() if not within(module_of(path), ends - {"uploads"})} == {"uploads"}


def test_only_s3_package_imports_storage_libraries() -> None:
    through = {module_of(path) for path in sources() if {top(name) for name in imports(path)} & STORE_LIBRARIES}
    assert through
    assert all(within(module, {"uploads.s3"}) for module in through)


def test_one_module_presigns_downloads() -> None:
    """It refuses files in quarantine. Another module that presigned downloads itself could forget that."""
    presigning = {
        module_of(path)
        for path in sources()
        if not within(module_of(path), {"uploads.s3"})
        and re.search(r"\bs3\.(download_url|preview_url)\b|import .*\b(download_url|preview_url)\b", path.read_text())
    }
    assert presigning == {"uploads.services.downloads"}


def test_services_models_and_forms_do_not_import_http() -> None:
    web = {"django.http", "django.shortcuts", "django.views", "django.urls.path", "uploads.views", "django.test"}
    knowing = {
        module_of(path)
        for path in sources()
        if within(
            module_of(path), {"uploads.services", "uploads.models", "uploads.forms", "uploads.s3", "uploads.actions"}
        )
        and any(within(name, web) for name in imports(path))
    }
    assert knowing == set()


def test_only_views_use_status_codes() -> None:
    code = re.compile(r"status\s*=\s*[2-5]\d\d")
    knowing = {module_of(path) for path in sources() if code.search(path.read_text())}
    assert all(within(module, {"uploads.views", "uploads.api", "uploads.errors"}) for module in knowing)


def test_only_the_settings_read_the_environment() -> None:
    """The local servers and gunicorn's own settings come before Django and have none; WSGI has an `environ` as well."""
    exempt = {"amalga.local", "amalga.gunicorn_conf", "amalga.wsgi", "uploads.wsgi"}
    reading = {
        module_of(path)
        for path in [*sources(), *sources(PROJECT / "amalga")]
        if re.search(r"\benviron\b|\bgetenv\b", path.read_text()) and not within(module_of(path), exempt)
    }
    assert reading == {"amalga.settings.env"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_private_names(tree: ast.AST) -> set[str]:
    """Return the private names that a module defines: functions, methods, variables and attributes of `self`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if ast.unparse(node.value) in {"self", "cls"} else set()
    return {name for name in names if is_private(name)}


def private_members(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Yield the private members of libraries that a module imports, overrides by `super()`, or reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".") for alias in node.names]
            for parts in (name.split(".") for name in names):
                hidden = [number for number, part in enumerate(parts) if part == "internal" or is_private(part)]
                if hidden and parts[0] not in {"amalga", "uploads"}:
                    yield ".".join(parts[: hidden[0] + 1])
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            inherited = ast.unparse(node.value).startswith("super(")
            if (inherited or node.attr not in own) and not {node.attr, ast.unparse(node)} & DOCUMENTED:
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "setattr", "hasattr", "delattr"}:
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)) and name.value not in own | DOCUMENTED:
                yield str(name.value)


def test_private_members_of_libraries_are_on_the_list() -> None:
    trees = {
        module_of(path): ast.parse(path.read_text()) for path in [*sources(), *sources(PROJECT / "amalga")]
    }  # fmt: skip
    own = set().union(*map(own_private_names, trees.values()))
    used = {(module, name) for module, tree in trees.items() for name in private_members(tree, own)}
    assert used == set(PRIVATE_MEMBERS)


@pytest.mark.parametrize(
    "source",
    [
        "import library._hidden",
        "from library.internal.flows import login",
        "from library import _hidden",
        "library.client._hidden()",
        "self._hidden",
        "getattr(library, '_hidden', None)",
        "class Own(Library):\n    def _ours(self): super()._ours()",
    ],
)
def test_private_member_is_recognized(source: str) -> None:
    assert list(private_members(ast.parse(source), own={"_ours"}))


def test_no_utils_and_no_print() -> None:
    for path in sources():
        assert path.stem not in {"utils", "helpers", "mixins"}
        assert not re.search(r"^\s*print\(", path.read_text(), re.MULTILINE)


def test_code_and_templates_never_disable_escaping() -> None:
    for path in sources():
        assert not re.search(r"mark_safe|SafeString|\|safe\b|csrf_exempt(?!  # )", _without_imports(path)), path
    for path in (PROJECT / "templates").rglob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape off", path.read_text()), path


def _without_imports(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.startswith(("from ", "import ")))


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.js")), ids=lambda path: path.name)
def test_script_creates_no_html_or_code_from_text(path: Path) -> None:
    text = path.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "createContextualFragment",
    ):
        assert word not in text
    assert text.lstrip().startswith("// @ts-check")


PAGES = sorted({*(PROJECT / "templates").rglob("*.html")} - {*(PROJECT / "templates" / "mail").iterdir()})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_template_follows_the_content_security_policy(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)


def tracked() -> list[Path]:
    """Return the tracked and new files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [PROJECT / name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def test_no_file_is_too_long_to_read() -> None:
    ours = [path for path in tracked() if path.suffix in {".py", ".js", ".html"} and "migrations" not in path.parts]
    assert ours
    assert {path.name: n for path in ours if (n := len(path.read_text().splitlines())) > MAX_LINES} == {}
