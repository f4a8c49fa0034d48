"""Excerpts of texts in common encodings, and of truncated and broken texts."""

from __future__ import annotations

import pytest

from uploads.previews import EXCERPT_BYTES, excerpt_of

WORDS = {
    "cp1252": ["“Price” it’s naïve – 5 € • ™ …\n", "Straße und Größe\n", "¿Qué tal? ¡Muy bien!\n", "café",
               "Ångström über año"],
    "cp1250": ["Příliš žluťoučký kůň úpěl ďábelské ódy\n", "Zażółć gęślą jaźń\n"],
    "cp1251": ["Привет", "Отчёт за 2024 год\n", "name;город\nИван;Москва\n", "// комментарий\nint main() {}\n",
               "Это довольно длинный русский текст для проверки кодировки. " * 5],
    "koi8-r": ["Привет", "Отчёт за 2024 год\n", "// комментарий\nint main() {}\n",
               "Это довольно длинный русский текст для проверки кодировки. " * 5],
    "gbk": ["这是一个测试文件，用于预览。\n", "姓名,城市\n张三,北京\n李四,上海\n", "使用Windows系统的用户\n", "你好"],
    "gb18030": ["这是一个测试文件𠀀，用于预览。\n" * 4],
    "shift_jis": ["これはテストファイルです。\n", "名前,住所\n山田太郎,東京都\n", "価格は100円です",
                  "ｶﾀｶﾅ、漢字、ひらがな。" * 5],
    "euc_jp": ["これはテストファイルです。\n", "プレビューのテスト：漢字、ひらがな。" * 5],
    "iso2022_jp": ["これはテストファイルです。\n"],
    "euc_kr": ["이것은 테스트 파일입니다.\n", "이름,도시\n김철수,서울\n",
               "안녕하세요. 미리보기를 위한 한국어 텍스트입니다. " * 5],
    "big5": ["這是一個測試文件，用於預覽。\n", "姓名,城市\n張三,臺北\n",
             "繁體中文的測試文字，應該可以正確顯示出來。" * 5],
    "cp1253": ["Καλημέρα κόσμε, αυτό είναι ένα τεστ.\n"],
    "cp1254": ["Şişli'de ığdır çok güzel. Türkçe metin örneği\n" * 2],
    "cp1256": ["مرحبا بالعالم هذا اختبار\n"],
    "cp866": ["Привет, мир. Это проверка.\n"],
    "utf-16-le": ["2024-01-01 INFO start\n", "Привет, мир. Это проверка.\n", "这是一个测试文件，用于预览。\n"],
    "utf-16-be": ["2024-01-01 INFO start\n", "Привет, мир. Это проверка.\n", "这是一个测试文件，用于预览。\n"],
    "utf-16": ["żółw 东京 🐢\n"],
    "utf-32": ["żółw 东京 🐢\n"],
    "utf-8-sig": ["żółw 东京 🐢\n"],
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "text"), [(encoding, text) for encoding in WORDS for text in WORDS[encoding]])
def test_text_is_decoded_correctly(encoding: str, text: str) -> None:
    assert excerpt_of(text.encode(encoding)).decode() == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "Grüße Москва 東京\n" * 4), ("gbk", "这是一个测试文件，用于预览。\n" * 4),
     ("shift_jis", "これはテストファイルです。\n" * 4), ("euc_kr", "이것은 테스트 파일입니다.\n" * 4),
     ("big5", "這是一個測試文件，用於預覽。\n" * 4)],
)  # fmt: skip
def test_invalid_byte_does_not_change_the_detected_encoding(encoding: str, text: str) -> None:
    raw = text.encode(encoding)
    excerpt = excerpt_of(raw + b"\xff bad\n" + raw).decode()
    assert excerpt.startswith(text)
    assert excerpt.endswith(text)
    assert excerpt.replace(text, "").strip("\ufffd\u00ff\uf8f3 bad\n") == ""


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gbk", "这是一个测试文件，用于预览。"), ("shift_jis", "これはテストファイルです。"),
     ("big5", "這是一個測試文件，用於預覽。"), ("euc_kr", "이것은테스트파일입니다"), ("utf-8", "żółw東京🐢"),
     ("gb18030", "这是一个测试文件𠀀，用于预览。")],
)  # fmt: skip
def test_truncated_character_at_the_end_is_omitted(encoding: str, text: str, shift: int) -> None:
    long_text = "x" * shift + text * 6000
    excerpt = excerpt_of(long_text.encode(encoding)[: EXCERPT_BYTES + 9]).decode()
    assert long_text.startswith(excerpt)
    assert len(excerpt) > 15_000


@pytest.mark.parametrize(
    ("raw", "excerpt"),
    [(b"page one\x0cpage two\n", "page one\npage two\n"), (b"a\x0bb", "a\nb"), (b"a\r\rb\r\nc", "a\n\nb\nc"),
     (b"abc\0abc\0", "abcabc"), (b"begun\n\0\0\0\0\0\0\nended\n", "begun\n\nended\n"),
     (b"old text\r\n\x1a", "old text\n"), (b"\x1b[31mred", "[31mred"), ("a\u2028b".encode(), "a\nb"), (b"", ""),
     (b"\xff\xfe", ""), (b"\xe9", "é")],
)  # fmt: skip
def test_control_characters_are_removed_or_become_line_breaks(raw: bytes, excerpt: str) -> None:
    assert excerpt_of(raw).decode() == excerpt
