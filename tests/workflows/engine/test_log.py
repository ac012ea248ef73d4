"""Log files, and text without control characters."""

import re

import pytest

from circuitshift.workflows.engine.log import log_line, plain


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("sub-01, Ünïcödé 日本語", "sub-01, Ünïcödé 日本語"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\tc", "a\\rb\\tc"),
        ("right-to-left \u202e", "right-to-left \\u202e"),
        ("not decodable \udcff", "not decodable \\udcff"),
    ],
)
def test_characters_that_are_not_printable_are_escaped(text, escaped):
    assert plain(text) == escaped


def test_lines_are_appended_with_date_and_time(tmp_path):
    path = tmp_path / "sub-01.log"
    log_line(path, "first\nsecond")
    log_line(path, "third \x1b")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(
        rf"{stamp} first\n  second\n{stamp} third \\x1b\n", path.read_text(encoding="utf-8")
    )


def test_a_log_file_that_cannot_be_written_is_ignored(tmp_path):
    log_line(tmp_path / "missing" / "x.log", "text")
    (tmp_path / "x.log").mkdir()
    log_line(tmp_path / "x.log", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]
