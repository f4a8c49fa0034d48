"""The rows of a table of files, without a template: fifty rows of nodes would cost more than the rest of the page."""

from __future__ import annotations

import functools
from html import escape
from typing import Any

from django import template
from django.template.base import FilterExpression, Parser, Token
from django.utils.translation import gettext as _

register = template.Library()
CACHED_ROWS = 1_000  # many users list the same files

# The attributes of a row that appear in its markup. Each of them is escaped.
ROW_TEXTS = ("link", "url", "name", "family", "folder", "size", "exact_size", "iso", "exact", "added", "by")
PICTURE = '<img class="thumb" src="{url}thumbnail" alt="" width="32" height="32" loading="lazy">'
KIND = '<span class="kind" data-kind="{family}" aria-hidden="true"></span>'
LINKED = '<a href="{url}" dir="auto">{name}</a>'
BARE = '<span dir="auto">{name}</span>'
PRIVATE = '<span class="mark">{private_word}</span>'
FOLDER = '<span class="folder" dir="auto"><span class="visually-hidden">{in_word} </span>{folder}</span>'


@register.tag
def table_rows(parser: Parser, token: Token) -> template.Node:
    """Render `{% table_rows files linked %}`: a table row per file, which links to its page if `linked`."""
    _name, files, linked = token.split_contents()
    return TableRows(parser.compile_filter(files), parser.compile_filter(linked))


class TableRows(template.Node):
    def __init__(self, files: FilterExpression, linked: FilterExpression) -> None:
        self.files, self.linked = files, linked

    def render(self, context: template.Context) -> str:
        words = (_("Select"), _("Private"), _("in"))
        linked = bool(self.linked.resolve(context))
        return "\n".join(_row(file, words, linked=linked) for file in self.files.resolve(context))


@functools.lru_cache(maxsize=CACHED_ROWS)
def _row(file: Any, words: tuple[str, str, str], *, linked: bool) -> str:
    values = {name: escape(str(getattr(file, name))) for name in ROW_TEXTS}
    values |= {name: escape(word) for name, word in zip(("select_word", "private_word", "in_word"), words, strict=True)}
    return _markup(linked, file.thumbnail, file.private, bool(file.folder)).format(**values)


@functools.cache
def _markup(linked: bool, thumbnail: bool, private: bool, folder: bool) -> str:
    label = f"{LINKED if linked else BARE}{PRIVATE if private else ''}{FOLDER if folder else ''}"
    return (
        '<tr class="file-row" role="row"><td role="cell" class="tick"><input class="pick" type="checkbox" name="file"'
        ' value="{link}" aria-label="{select_word} {name}"></td><th scope="row" role="rowheader" class="file-name">'
        f'<div class="file-entry">{PICTURE if thumbnail else KIND}<span class="file-words">{label}</span></div></th>'
        '<td role="cell" class="number" title="{exact_size}">{size}</td><td role="cell">'
        '<time datetime="{iso}" title="{exact}">{added}</time></td><td role="cell" class="by">{by}</td></tr>'
    )
