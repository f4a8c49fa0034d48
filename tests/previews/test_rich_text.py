"""CSV as tables and Markdown as HTML, from untrusted text."""

from __future__ import annotations

import time

import pytest
from django.template.loader import render_to_string

from uploads.previews.text_excerpt import (
    MAX_CELL_CHARACTERS,
    MAX_COLUMNS,
    MAX_ROWS,
    parse_markdown,
    read_table,
    rich_format_of,
)


def render_markdown(text: str) -> str:
    return render_to_string("uploads/_markdown.html", {"nodes": parse_markdown(text)})


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected(delimiter: str) -> None:
    lines = [["name", "a, b; c"], ["Ä", '"1,5"'], ["", '"two\nlines"']]
    table = read_table("\n".join(delimiter.join(line) for line in lines[1:]), is_complete=True)
    assert table
    assert (table.header, table.rows) == (["Ä", "1,5"], [["", "two\nlines"]])


def test_rows_are_limited_and_padded() -> None:
    table = read_table("a,b,c\n" + "1,2\n" * 500, is_complete=True)
    assert table
    assert (len(table.rows), table.rows[0], table.is_complete) == (MAX_ROWS, ["1", "2", ""], False)


def test_columns_and_cells_are_limited() -> None:
    table = read_table(",".join(["x" * 600] * 100), is_complete=True)
    assert table
    assert (len(table.header), len(table.header[0])) == (MAX_COLUMNS, MAX_CELL_CHARACTERS)


def test_last_line_of_an_incomplete_text_is_omitted() -> None:
    table = read_table("a,b\n1,2\n3,", is_complete=False)
    assert table
    assert (table.rows, table.is_complete) == ([["1", "2"]], False)


def test_text_without_rows_is_not_a_table() -> None:
    assert read_table("\n\n", is_complete=True) is None


def test_markdown_is_rendered() -> None:
    html = render_markdown("# Title\n\n*a* **b** `c`\n\n- x\n\n|h|\n|-|\n|d|\n")
    for part in ("<h1>Title</h1>", "<em>a</em>", "<strong>b</strong>", "<code>c</code>", "<li>x</li>", "<td>d</td>"):
        assert part in html


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "a <img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "[a](/files/)",
     "![a](https://x.example/a.png)", "[a](data:text/html,<script>)", "[a](//x.example)", "[a](JaVaScRiPt:alert(1))",
     "<javascript:alert(1)>", '![a" onerror="x](x)', "[a]: javascript:alert(1)\n\n[a]", "```<script>\n</script>\n```",
     "|<script>|\n|-|\n|<b>|"],
)  # fmt: skip
def test_hostile_markdown_is_escaped(text: str) -> None:
    html = render_markdown(text)
    for part in ("<script", "<img", "<b>", "href=", "src="):
        assert part not in html.replace("&lt;img src=", "")


def test_markdown_links_open_in_a_new_tab_without_referrer() -> None:
    attributes = 'target="_blank" rel="nofollow noopener noreferrer"'
    assert render_markdown("[a](https://x.example)") == f'<p><a href="https://x.example" {attributes}>a</a></p>'


HOSTILE = ["[" * 65_536, "![[]()" * 11_000, "**a" * 22_000, "|a" * 500 + "|\n" + "|-" * 500 + "|\nx" * 9999]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_rendered_in_time(text: str) -> None:
    start = time.process_time()
    render_markdown(text)
    assert time.process_time() - start < 5


def test_format_depends_on_the_file_extension() -> None:
    names = ("a.CSV", "a.tsv", "README.md", "a.txt", "csv")
    assert [rich_format_of(name) for name in names] == ["table", "table", "markdown", "", ""]
