"""`clean_name` for every entry point, and the Content-Disposition header of a name."""

from __future__ import annotations

import email.message
import email.utils
import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploads.content_headers import content_disposition
from uploads.names import DEFAULT_NAME, clean_folder, clean_name, clean_type, extensions_of

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ZERO_WIDTH = "\u200b\u2060\ufeff\u00ad\u034f\u115f\u3164"
# Invisible unless part of the spelling: joiners, the Mongolian vowel separator, variation selectors, tags.
CONTEXTUAL = "\u200c\u200d\u180e\ufe0f\U000e0100\U000e0067\U000e007f"
JOINED = "می\u0647\u094d\u0930\u0dca\u09cd❤👩🏽🏴\u1820\u180b1#a\u0323\u0301"
VISIBLE_FORMAT = {"\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd", "\u070f", "\u0890", "\u0891",
                  "\u08e2", "\U000110bd", "\U000110cd"}  # fmt: skip
# Every code point, including lone surrogates, with hostile ones overrepresented.
hostile = st.sampled_from(
    [*BIDI, *ZERO_WIDTH, *CONTEXTUAL, *"\x00\r\n\t\x7f\x85\u2028\u2029\\/. \u3000\u0301\ud800\udfff\"';%:"]
)
anything = st.text(st.characters() | st.characters(categories=["Cs", "Cc", "Cf", "Zs", "Mn"]) | hostile, max_size=400)
joined = st.text(st.sampled_from([*CONTEXTUAL, *JOINED, *" ./\\"]), max_size=12)
letters = st.text(st.characters(categories=["Ll", "Lu", "Lo", "Nd"]), min_size=1)


@given(anything | joined | joined.map(lambda text: "x" * 250 + text) | joined.map(lambda text: text * 40 + ".txt"))
@example("." + " " * 300 + "b")
@example("." * 300 + "b" * 30)
@example("\u3000")
@example("e\u0301" * 300)
@example("👩\u200d" * 200)
@example("\u0dca\u0301\U000e0100\u094d\U000e0100\u09cd\u200d\u09b0")
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
def test_name_is_limited_to_255_characters(text: str) -> None:
    assert 1 <= len(clean_name(text)) <= 255


@given(anything)
def test_no_control_bidi_or_invisible_character_is_left(text: str) -> None:
    name = set(clean_name(text)) - VISIBLE_FORMAT - set(CONTEXTUAL) - set(map(chr, range(0xE0020, 0xE0080)))
    assert not {unicodedata.category(char) for char in name} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not name & set(BIDI + ZERO_WIDTH)


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
def test_valid_names_stay_unchanged(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("/abs", "abs"),
        ("..", DEFAULT_NAME),
        ("...", DEFAULT_NAME),
        (". . .", DEFAULT_NAME),
        ("dir/", DEFAULT_NAME),
        ("", DEFAULT_NAME),
        ("\u202e", DEFAULT_NAME),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\x00b.txt", "ab.txt"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie: x.txt"),
        ("zero\u200bwidth.txt", "zerowidth.txt"),
        ("cafe\u0301.md", "café.md"),
        ("  padded.txt  ", "padded.txt"),
        ("\ud800.txt", ".txt"),
        ("a\U000e0041.txt", "a.txt"),  # a tag character
        ("\\\\server\\share\\a.txt", "a.txt"),
        ("C:/Users/me\\a.txt", "a.txt"),
        (" C:\\fakepath\\a.txt", "a.txt"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\u200db.txt", "ab.txt"),
        ("pay\u200cpal.ex\u200de", "paypal.exe"),
        ("\u200dfirst last\u200d", "first last"),
        ("漢\u200d字\u200c.txt", "漢字.txt"),
        ("שלום\u200d.txt", "שלום.txt"),
        ("\u200cسلام\u200c.txt", "سلام.txt"),
        ("می\u200c\u200d\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d.png", "👩.png"),
        ("👩\u200da.png", "👩a.png"),
        ("a\ufe0f.txt", "a.txt"),
        ("é\U000e0100\ufe0f.txt", "é.txt"),
        ("❤\ufe0f\ufe0f.txt", "❤\ufe0f.txt"),
        ("🏴\U000e0067\U000e0062.txt", "🏴.txt"),  # tags without an end
        ("a\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.txt", "a.txt"),
        ("a\u180eb", "ab"),
    ],
)
def test_paths_and_invisible_characters_are_removed(text: str, name: str) -> None:
    assert clean_name(text) == name


@pytest.mark.parametrize(
    "name",
    [
        "می\u200cخواهم.txt",  # Persian
        "کار\u200cها.pdf",
        "ه\u200d.ش.pdf",
        "به\u200cڕێوه\u200cبه\u200cرایه\u200cتی.doc",  # Kurdish
        "هه\u200cیه\u200c.txt",
        "ශ්\u200dරී ලංකා.txt",  # Sinhala
        "അവന്\u200d.txt",  # Malayalam
        "തമിഴ്\u200cനാട്",
        "क्\u200dष और क्\u200cष.txt",  # Hindi
        "र\u200d्य",
        "র\u200d্যাম.jpg",  # Bengali
        "ರ\u200d್ಕ.txt",  # Kannada
        "க்\u200cஷ",  # Tamil
        "\u182c\u1820\u1837\u180e\u1820.txt",  # Mongolian
        "👨\u200d👩\u200d👧\u200d👦.png",
        "❤\ufe0f\u200d🔥.png",
        "👩🏽\u200d🚀 🏳\ufe0f\u200d🌈 🏳\ufe0f\u200d⚧\ufe0f.png",
        "🚶\u200d➡\ufe0f 🐈\u200d⬛ 🙂\u200d↔\ufe0f.png",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.png",  # England
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f🏴\u200d☠\ufe0f",
        "1\ufe0f\u20e3 ©\ufe0f ℹ\ufe0f.txt",
        "葛\U000e0100城.txt",  # a variant of the first letter
        "\u0600١٢.txt",  # the Arabic number sign
    ],
)
def test_invisible_characters_stay_where_spelling_needs_them(name: str) -> None:
    assert clean_name(name) == name
    assert clean_folder(f"a/{name}") == f"a/{name}"


@pytest.mark.parametrize(
    ("text", "name"),
    [("AC\\DC.mp3", "AC_DC.mp3"), ("\\a", "_a"), ("a\\", "a_"), ("x/AC\\DC", "AC_DC"), ("12:\\x", "12:_x"),
     ("back\\slash\\.txt", "back_slash_.txt"), ("a\\\\b", "a_b")],
)  # fmt: skip
def test_backslash_outside_a_windows_path_is_replaced(text: str, name: str) -> None:
    assert clean_name(text) == name


@given(anything)
def test_a_folder_is_a_clean_relative_path(text: str) -> None:
    folder = clean_folder(text)
    assert clean_folder(folder) == folder
    assert all(segment == clean_name(segment) for segment in folder.split("/") if folder)
    assert not {"", ".", ".."} & set(folder.split("/") if folder else [])


@pytest.mark.parametrize(
    ("text", "folder"),
    [("Brand/Logos", "Brand/Logos"), ("/a//b/", "a/b"), ("../../x", "x"), ("a\\b", "a_b"), ("", ""), ("./.", ""),
     ("C:\\a\\b", "C:/a/b"),
     (" a / b ", "a/b"), ("صور/2024", "صور/2024")],
)  # fmt: skip
def test_folder_path_is_cleaned_of_parent_references(text: str, folder: str) -> None:
    assert clean_folder(text) == folder


@given(anything, st.booleans())
@example('quote".txt', False)
@example("semi;colon\\back.txt", False)
@example("a\r\nSet-Cookie: a=b", False)
def test_a_content_disposition_is_one_line_of_ascii(name: str, inline: bool) -> None:
    header = content_disposition(name, inline=inline)
    assert header.isascii()
    assert header.isprintable()
    assert header.split(";")[0] == ("inline" if inline else "attachment")


@given(anything)
@example("100%25 done.txt")
@example("=?utf-8?q?hi?=.txt")
def test_another_parser_reads_the_same_name_from_the_header(name: str) -> None:
    """Python's header parser (RFC 2231) is independent of ours. It returns `filename*` last."""
    message = email.message.Message()
    message["Content-Disposition"] = content_disposition(name, inline=False)
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
def test_ambiguous_name_has_a_fallback_and_an_extended_form(name: str, fallback: str) -> None:
    plain, extended = content_disposition(name, inline=False).split("; ")[1:]
    assert plain == f'filename="{fallback}"'
    assert extended.startswith("filename*=UTF-8''")
    assert unquote(extended.removeprefix("filename*=UTF-8''")) == name


@pytest.mark.parametrize("name", ["report.txt", "a'b (1) [2] {3} *;,&=@~#$^`|<>:?!.txt", "a =b?.txt"])
def test_plain_name_has_only_one_form(name: str) -> None:
    assert content_disposition(name, inline=True) == f'inline; filename="{name}"'


@given(anything)
def test_fallback_name_contains_nothing_that_clients_decode(name: str) -> None:
    plain = content_disposition(name, inline=False).partition('filename="')[2].partition('"')[0]
    assert 0 < len(plain) <= 255
    assert not re.search(r"[%\\]|=\?", plain)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("text/plain", "text/plain"), ("IMAGE/PNG ", "image/png"), ("", ""), ("x" * 256, ""), ("té/xt", ""),
     ("a\x00b", ""), ("a\r\nb", "")],
)  # fmt: skip
def test_declared_type_is_ascii_or_dropped(text: str, kind: str) -> None:
    assert clean_type(text) == kind


@pytest.mark.parametrize(
    "name",
    ["run.exe", "RUN.EXE", ".exe", "run.exe.", "run.exe . .", "run.exe\u3000", "run.exe\u00a0.", "run.exe::$DATA",
     "run.exe:Zone.Identifier:$DATA", "run.exe:", "run.exe. :x.txt", "photo.txt:run.exe", "run．exe", "run․exe",
     "run﹒exe", "run.ｅｘｅ", "run.exe…", "run.exe：", "run.e\u200bxe", "run.exe\u200d", "run.𝐞𝐱𝐞", "a.txt.exe",
     "..exe"],
)  # fmt: skip
def test_extension_is_found_as_any_file_system_reads_it(name: str) -> None:
    assert ".exe" in extensions_of(name)


@pytest.mark.parametrize("name", ["exe", "run.exe.txt", "run exe", "exe.", "run.exes", "run.ex", "my.exe (old)", ""])
def test_no_other_extension_is_found(name: str) -> None:
    assert ".exe" not in extensions_of(name)
