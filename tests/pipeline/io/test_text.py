"""Encodings of text files, and files that are not text."""

import codecs

import pytest

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import text
from circuitshift.pipeline.io.text import read_encoded_text, read_text

TABLE = "participant_id\tgroup\nsub-01\tdrug\nsub-02\tplacebo\n"


@pytest.mark.parametrize(
    ("codec", "mark", "name"),
    [
        ("utf-8", "", "UTF-8"),
        ("utf-8", "\ufeff", "UTF-8"),
        ("utf-16-le", "\ufeff", "UTF-16"),
        ("utf-16-be", "\ufeff", "UTF-16"),
        ("utf-16-le", "", "UTF-16"),
        ("utf-16-be", "", "UTF-16"),
        ("utf-32-le", "\ufeff", "UTF-32"),
        ("utf-32-be", "\ufeff", "UTF-32"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_unicode_is_read_with_all_line_ends(tmp_path, codec, mark, name, end):
    path = tmp_path / "t.tsv"
    path.write_bytes((mark + TABLE.replace("\n", end)).encode(codec))
    assert read_encoded_text(path) == (TABLE, name)
    assert read_text(path) == TABLE


@pytest.mark.parametrize("word", ["Größe", "Zürich", "naïve “x”", "crème €"])
def test_western_european_text_is_read_for_tables_of_participants_only(tmp_path, word):
    path = tmp_path / "t.tsv"
    path.write_bytes(f"a\n{word}\n".encode("cp1252"))
    assert read_encoded_text(path, legacy=True) == (f"a\n{word}\n", "Windows-1252")
    with pytest.raises(TableError, match="it is not UTF-8 text"):
        read_text(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (codecs.BOM_UTF8 + b"\n", "it is empty"),
        (codecs.BOM_UTF16_LE + b"a\0b", "it is not valid UTF-16"),
        (b"PK\x03\x04\x14\0\x06\0", "a spreadsheet or zip archive and not text; save it as text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook and not text"),
        (b"\x1f\x8b\x08\0", "compressed by gzip"),
        (b"a\tb\n\0\0\0", "zero bytes"),
        (b"a\tb\n\x01\xff\x02", "it is not UTF-8 text"),
        (b"a\n\x81\n", "it is not UTF-8 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "never fetched"),
        (b"/annex/objects/MD5E-s12--abc.tsv\n", "never fetched"),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path, content, message):
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_encoded_text(path, legacy=True)
    assert str(path) in str(caught.value)


def test_large_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n1\t2\n")
    monkeypatch.setattr(text, "_MAX_BYTES", 7)
    with pytest.raises(TableError, match="more than the limit of 0 MB"):
        read_text(path)
