"""The messages marked for translation, and their catalogs. `make messages` updates the catalogs in plain Python,
without the gettext tools.

A new message gets an empty translation in the catalog, which fails a test.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import polib
from django.conf import settings
from django.utils.translation.template import templatize

PROJECT = Path(__file__).resolve().parents[2]
LANGUAGES = ["es"]
ONE = {"_", "gettext", "gettext_lazy", "gettext_noop"}
MANY = {"ngettext", "ngettext_lazy"}
CALL = re.compile(r"\b(?:n?gettext|_)\((?:[^()'\"]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*\)")

Text = tuple[str, str | None]  # singular, plural


def collect() -> dict[Text, set[str]]:
    """Return every marked message with the files that contain it."""
    texts: dict[Text, set[str]] = {}
    for path in [*PROJECT.glob("uploads/**/*.py"), *PROJECT.glob("amalga/*.py")]:
        for text in _in_python(path.read_text()):
            texts.setdefault(text, set()).add(str(path.relative_to(PROJECT)))
    for path in [*PROJECT.glob("templates/**/*.html"), *PROJECT.glob("templates/**/*.txt")]:
        for text in _in_template(path.read_text()):
            texts.setdefault(text, set()).add(str(path.relative_to(PROJECT)))
    return texts


def _in_python(source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if name in ONE and texts:
            yield texts[0], None
        elif name in MANY and len(texts) >= 2:
            yield texts[0], texts[1]


def _in_template(source: str) -> Iterator[Text]:
    """Yield the messages of a template, from the code that Django generates for xgettext."""
    for call in CALL.finditer(templatize(source)):
        node = ast.parse(re.sub(r",\s*count\)$", ", 0)", call[0])).body[0]
        yield from _in_python(ast.unparse(node))


def catalogue(language: str) -> Path:
    return PROJECT / "locale" / language / "LC_MESSAGES" / "django.po"


def update(language: str) -> int:
    """Update and compile one catalog, and return the number of untranslated messages."""
    path = catalogue(language)
    known = (
        {(entry.msgid, entry.msgid_plural or None): entry for entry in polib.pofile(str(path))} if path.exists() else {}
    )
    fresh = polib.POFile(wrapwidth=118)
    fresh.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Language": language,
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    for (singular, many), places in sorted(collect().items(), key=lambda item: (min(item[1]), item[0][0])):
        entry = known.get((singular, many)) or polib.POEntry(msgid=singular, msgid_plural=many or "")
        if many and not entry.msgstr_plural:
            entry.msgstr_plural = {0: "", 1: ""}
        entry.occurrences = [(place, "") for place in sorted(places)]
        entry.flags = ["python-format"] if "%(" in singular else []
        fresh.append(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.save(str(path))
    fresh.save_as_mofile(str(path.with_suffix(".mo")))
    return len(fresh.untranslated_entries())


def main() -> None:
    settings.configure(USE_I18N=True, TEMPLATES=[])
    django.setup()
    for language in LANGUAGES:
        waiting = update(language)
        sys.stdout.write(f"{catalogue(language).relative_to(PROJECT)}: {waiting} texts wait for a translation\n")


if __name__ == "__main__":
    main()
