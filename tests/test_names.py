"""One `clean_name` for every door, and the header a name ends in."""

from __future__ import annotations

import email.message
import email.utils
import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploads.names import NAMELESS, clean_folder, clean_name, clean_type, disposition, extensions_of

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u115f\u3164"
# Every code point, lone surrogates included, and the hostile ones more often than chance would have it.
hostile = st.sampled_from([*BIDI, *ZERO_WIDTH, *"\x00\r\n\t\x7f\x85\u2028\u2029\\/. \u3000\u0301\ud800\udfff\"';%:"])
anything = st.text(st.characters() | st.characters(categories=["Cs", "Cc", "Cf", "Zs", "Mn"]) | hostile, max_size=400)
letters = st.text(st.characters(categories=["Ll", "Lu", "Lo", "Nd"]), min_size=1)


@given(anything)
@example("." + " " * 300 + "b")
@example("." * 300 + "b" * 30)
@example("\u3000")
@example("e\u0301" * 300)
def test_cleaning_a_name_twice_changes_nothing(text: str) -> None:
    assert clean_name(clean_name(text)) == clean_name(text)


@given(anything)
@example("." + " " * 300 + "b")
@example("." * 300 + "b" * 30)
@example("\u200b\u3000\u200b")
def test_a_name_is_never_empty_nor_a_path(text: str) -> None:
    name = clean_name(text)
    assert name.strip()
    assert name.strip(". ")
    assert "/" not in name
    assert "\\" not in name


@given(anything)
@example("x" * 256)
@example("😀" * 10_000)
def test_a_name_has_at_most_255_characters(text: str) -> None:
    assert 1 <= len(clean_name(text)) <= 255


@given(anything)
def test_no_control_bidi_or_invisible_character_is_left(text: str) -> None:
    name = clean_name(text)
    assert not {unicodedata.category(char) for char in name} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not set(name) & set(BIDI + ZERO_WIDTH)


@given(anything)
def test_a_name_is_nfc_and_can_be_stored_as_utf_8(text: str) -> None:
    name = clean_name(text)
    assert unicodedata.is_normalized("NFC", name)
    assert name.encode()


@given(letters, st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20))
@example("x" * 1000, "jpeg")
@example("ש" * 300, "docx")
def test_a_name_that_is_too_long_keeps_its_extension(stem: str, extension: str) -> None:
    assert clean_name(f"{stem * 60}.{extension}").endswith(f".{extension}")


@pytest.mark.parametrize(
    "name",
    ["שלום.txt", "تقرير نهائي.pdf", "報告書.docx", "отчёт.odt", "café.md", "😀 party 🎉.png", "a b  c.txt", ".profile",
     "<b>bold</b>.html".replace("/", ""), "100% sure.txt", "résumé (final) [2].pdf", "-rf", "=1+1.csv", "con.txt"],
)  # fmt: skip
def test_honest_names_survive_unchanged(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("/abs", "abs"),
        ("..", NAMELESS),
        ("...", NAMELESS),
        (". . .", NAMELESS),
        ("dir/", NAMELESS),
        ("", NAMELESS),
        ("\u202e", NAMELESS),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\x00b.txt", "ab.txt"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie: x.txt"),
        ("zero\u200bwidth.txt", "zerowidth.txt"),
        ("cafe\u0301.md", "café.md"),
        ("  padded.txt  ", "padded.txt"),
        ("\ud800.txt", ".txt"),
        ("a\U000e0041.txt", "a.txt"),  # a tag character
    ],
)
def test_what_hides_or_points_elsewhere_is_gone(text: str, name: str) -> None:
    assert clean_name(text) == name


@given(anything)
def test_a_folder_is_a_clean_relative_path(text: str) -> None:
    folder = clean_folder(text)
    assert clean_folder(folder) == folder
    assert all(segment == clean_name(segment) for segment in folder.split("/") if folder)
    assert not {"", ".", ".."} & set(folder.split("/") if folder else [])


@pytest.mark.parametrize(
    ("text", "folder"),
    [("Brand/Logos", "Brand/Logos"), ("/a//b/", "a/b"), ("../../x", "x"), ("a\\b", "a/b"), ("", ""), ("./.", ""),
     (" a / b ", "a/b"), ("صور/2024", "صور/2024")],
)  # fmt: skip
def test_a_folder_keeps_its_segments_and_loses_the_way_up(text: str, folder: str) -> None:
    assert clean_folder(text) == folder


@given(anything, st.booleans())
@example('quote".txt', False)
@example("semi;colon\\back.txt", False)
@example("a\r\nSet-Cookie: a=b", False)
def test_a_content_disposition_is_one_line_of_ascii(name: str, inline: bool) -> None:
    header = disposition(name, inline=inline)
    assert header.isascii()
    assert header.isprintable()
    assert header.split(";")[0] == ("inline" if inline else "attachment")


@given(anything)
@example("100%25 done.txt")
@example("=?utf-8?q?hi?=.txt")
def test_another_parser_reads_the_same_name_from_the_header(name: str) -> None:
    """Python's own parser of headers (RFC 2231) is nothing of ours. It gives `filename*` last."""
    message = email.message.Message()
    message["Content-Disposition"] = disposition(name, inline=False)
    assert email.utils.collapse_rfc2231_value(message.get_params([], "content-disposition")[-1][1]) == clean_name(name)


@pytest.mark.parametrize(
    ("name", "fallback"),
    [
        ("100%25 done.txt", "100_25 done.txt"),
        ("a%2Fb.txt", "a_2Fb.txt"),
        ("=?utf-8?q?hi?=.txt", "_utf-8?q?hi?=.txt"),
        ('say "hi".txt', "say _hi_.txt"),
        ("報告書 2024.docx", "_ 2024.docx"),
        ("😀.png", "_.png"),
        ("שלום", "_"),
        ("é" * 200 + "x" * 51 + ".pdf", "_" + "x" * 51 + ".pdf"),
        ("é" + "x" * 250 + ".pdf", "_" + "x" * 55 + ".pdf"),
    ],
)
def test_a_name_that_clients_read_in_different_ways_goes_out_twice(name: str, fallback: str) -> None:
    plain, extended = disposition(name, inline=False).split("; ")[1:]
    assert plain == f'filename="{fallback}"'
    assert extended.startswith("filename*=UTF-8''")
    assert unquote(extended.removeprefix("filename*=UTF-8''")) == name


@pytest.mark.parametrize("name", ["report.txt", "a'b (1) [2] {3} *;,&=@~#$^`|<>:?!.txt", "a =b?.txt"])
def test_a_plain_name_goes_out_once(name: str) -> None:
    assert disposition(name, inline=True) == f'inline; filename="{name}"'


@given(anything)
def test_the_short_name_of_a_header_is_nothing_that_a_client_decodes(name: str) -> None:
    plain = disposition(name, inline=False).partition('filename="')[2].partition('"')[0]
    assert 0 < len(plain) <= 255
    assert not re.search(r"[%\\]|=\?", plain)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("text/plain", "text/plain"), ("IMAGE/PNG ", "image/png"), ("", ""), ("x" * 256, ""), ("té/xt", ""),
     ("a\x00b", ""), ("a\r\nb", "")],
)  # fmt: skip
def test_a_claimed_type_is_plain_ascii_or_dropped(text: str, kind: str) -> None:
    assert clean_type(text) == kind


@pytest.mark.parametrize(
    "name",
    ["run.exe", "RUN.EXE", ".exe", "run.exe.", "run.exe . .", "run.exe\u3000", "run.exe\u00a0.", "run.exe::$DATA",
     "run.exe:Zone.Identifier:$DATA", "run.exe:", "run.exe. :x.txt", "photo.txt:run.exe", "run．exe", "run․exe",
     "run﹒exe", "run.ｅｘｅ", "run.exe…", "run.exe：", "run.e\u200bxe", "run.exe\u200d", "run.𝐞𝐱𝐞", "a.txt.exe",
     "..exe"],
)  # fmt: skip
def test_an_extension_is_found_where_some_file_system_finds_it(name: str) -> None:
    assert ".exe" in extensions_of(name)


@pytest.mark.parametrize("name", ["exe", "run.exe.txt", "run exe", "exe.", "run.exes", "run.ex", "my.exe (old)", ""])
def test_no_other_extension_is_found(name: str) -> None:
    assert ".exe" not in extensions_of(name)
