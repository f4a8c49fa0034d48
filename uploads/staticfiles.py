"""The storage for static files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from django.core.files.base import ContentFile
from whitenoise.storage import CompressedManifestStaticFilesStorage

SCRIPTS = "uploads/js/"
BUNDLE = "main.js"

IMPORT = re.compile(r'^import (?P<names>\{[^}]*\}|\* as \w+) from "\./(?P<module>[\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (?P<name>\w+))", re.MULTILINE)
# Comments on lines of their own: a third of the compressed scripts.
COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
OTHER_SYNTAX = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Bundle the modules of `main.js`, hash and compress static files, and rewrite `import` paths to hashed names."""

    support_js_module_import_aggregation = True
    # A pass settles at least one level of imports, whatever the order of the files.
    max_post_process_passes = 10

    def post_process(self, paths: dict[str, Any], dry_run: bool = False, **options: Any) -> Iterator[Any]:
        """Replace the collected `main.js` by the bundle: one request in place of one for each module.

        The bundle is made of the sources, so that collecting again changes nothing.
        """
        name = SCRIPTS + BUNDLE
        if name in paths and not dry_run:
            bundle = bundle_modules(BUNDLE, lambda module: _read(*paths[SCRIPTS + module]))
            self.delete(name)
            self._save(name, ContentFile(bundle.encode()))
            paths = {**paths, name: (self, name)}
        yield from super().post_process(paths, dry_run, **options)


def bundle_modules(entry: str, read: Callable[[str], str]) -> str:
    """Return one script with `entry` and all that it imports, each module in its own scope and without comments.

    `read` returns the source of a module. Raises ValueError for modules that import each other in a circle, and for
    forms of import and export that no module has so far.
    """
    parts: list[str] = []
    states: dict[str, bool] = {}  # whether the module is complete

    def add(module: str) -> None:
        if module in states:
            if not states[module]:
                raise ValueError(f"{module} imports itself, through other modules")
            return
        states[module] = False
        source = COMMENT.sub("", read(module))
        for match in IMPORT.finditer(source):
            add(match["module"])
        exported = ", ".join(match["name"] for match in EXPORT.finditer(source))
        scoped = EXPORT.sub("", IMPORT.sub(_as_constant, source))
        if unknown := OTHER_SYNTAX.search(scoped):
            raise ValueError(f"{module}: the bundle can't contain “{unknown[0]}”")
        parts.append(f"const {_variable(module)} = (() => {{\n{scoped}\nreturn {{ {exported} }};\n}})();\n")
        states[module] = True

    add(entry)
    return "".join(parts)


def _as_constant(match: re.Match[str]) -> str:
    names = match["names"].removeprefix("* as ").replace(" as ", ": ")
    return f"const {names} = {_variable(match['module'])};\n"


def _variable(module: str) -> str:
    return "module_" + module.removesuffix(".js").replace("-", "_")


def _read(storage: Any, path: str) -> str:
    with storage.open(path) as file:
        content: bytes = file.read()
    return content.decode()
