"""The documentation: links work, pages name their readers, and lists of names in the code are complete."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from amalga import __version__
from tests.support.words import advice, banned_words, prose
from uploads.models import FindingKind
from uploads.s3.bucket_config import BUCKET_SETTINGS
from uploads.services.doctor.bucket import PERMISSIONS

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
# The path and the anchor of Markdown links and images, and of HTML attributes.
LINK = re.compile(r"""(?:\]\(|(?:src|href|srcset)=")(?P<path>[^)\s#"]*)(?:#(?P<anchor>[^)\s"]+))?[)"]""")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LOGGED = re.compile(r"""logger\.(?:info|warning|error)\(\s*f?["']([a-z][a-z0-9]*(?:_[a-z]+)+)[ :"']""")
# Names that are composed when they are logged.
COMPOSED = {"account_enabled", "account_disabled"} | {
    f"file_{kind.value}"
    for kind in (FindingKind.CORRUPTED, FindingKind.MISSING, FindingKind.SIZE_MISMATCH, FindingKind.ETAG_MISMATCH)
}


@cache
def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listed.splitlines() if (path := PROJECT / name).is_file() and "template" not in path.name]


def manual() -> list[Path]:
    """Pages that people read, without the history in CHANGELOG.md and templates of issues."""
    return [path for path in pages() if path.name != "CHANGELOG.md" and ".github" not in path.parts]


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of headings as GitHub creates them: lowercase, no punctuation, hyphens for spaces."""
    names: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", path.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = sum(1 for known in names if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known))
        names.add(f"{slug}-{count}" if count else slug)
    return names


def links(path: Path) -> Iterator[tuple[Path, str | None]]:
    for match in LINK.finditer(FENCED.sub("", path.read_text())):
        if "://" not in match["path"] and not match["path"].startswith("mailto:"):
            yield (path.parent / match["path"]).resolve() if match["path"] else path, match["anchor"]


def test_links_lead_to_files_and_headings_that_exist() -> None:
    broken = [
        f"{name(page)}: {target}#{anchor or ''}"
        for page in pages()
        for target, anchor in links(page)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = DOCS / "README.md"
    reached, waiting = {index}, [index]
    while waiting:
        for target, _anchor in links(waiting.pop()):
            if target.suffix == ".md" and target not in reached and DOCS in target.parents:
                reached.add(target)
                waiting.append(target)
    assert {name(page) for page in pages() if DOCS in page.parents and page not in reached} == set()


def test_every_page_says_who_it_is_for() -> None:
    decisions = DOCS / "develop" / "decisions"
    openings = {name(page): page.read_text().split("\n\n", 2)[:2] for page in pages() if DOCS in page.parents}
    wrong = [
        page
        for page, (title, first) in openings.items()
        if not title.startswith("# ") or (not first.startswith("For ") and PROJECT / page not in decisions.glob("0*"))
    ]
    assert wrong == []


def test_documentation_is_in_plain_english() -> None:
    texts = [(name(page), prose(page.read_text())) for page in manual()]
    matches = list(banned_words(texts))
    assert not matches, advice(matches)


def test_pages_that_code_names_exist() -> None:
    named = [
        (name(path), page)
        for folder in ("amalga", "uploads", "deploy", "templates", ".github", "bench")
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".yml", ".html", ".sh", ".conf", ".js"}
        for page in re.findall(r"\b((?:docs|deploy)/[\w/-]+\.md)\b", path.read_text())
    ]
    assert [(path, page) for path, page in named if not (PROJECT / page).is_file()] == []
    assert len(named) > 5


def test_readme_shows_the_version() -> None:
    assert f"badge/version-{__version__}-" in (PROJECT / "README.md").read_text()


def test_every_log_event_is_documented() -> None:
    sources = [path.read_text() for folder in ("uploads", "amalga") for path in (PROJECT / folder).rglob("*.py")]
    logged = {event for text in sources for event in LOGGED.findall(text)} | COMPOSED
    logged |= {
        event
        for text in sources
        for event in re.findall(r'\blog_event = "(\w+)"|log_event = .*, "(\w+)"', text)
        for event in event
        if event
    }
    table = (DOCS / "operate" / "monitoring.md").read_text().partition("## Log events")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = {event for row in rows for event in re.findall(r"`(\w+)`", row)}
    assert documented == logged


@cache
def policies() -> list[set[str]]:
    """Return the actions of each policy on the page about storage providers."""
    text = (DOCS / "operate" / "storage-providers.md").read_text()
    documents: list[dict[str, Any]] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    return [{action for statement in document["Statement"] for action in statement["Action"]} for document in documents]


def test_application_policy_has_every_permission_that_doctor_asks_for() -> None:
    application, _provisioning = policies()
    advised = {action for text in PERMISSIONS.values() for action in re.findall(r"s3:\w+", text)}
    assert advised <= application


def test_provisioning_policy_has_every_permission_that_provision_needs() -> None:
    _application, provisioning = policies()
    needed = {f"s3:{verb}{setting.right}" for setting in BUCKET_SETTINGS for verb in ("Get", "Put")}
    assert needed <= provisioning
