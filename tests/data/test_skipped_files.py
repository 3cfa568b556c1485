"""What was not read, in a few lines."""

from __future__ import annotations

from gptsmith.data import skipped_files
from gptsmith.data.skipped_files import skipped_in_words


def test_reasons_are_grouped_and_what_one_command_mends_comes_first() -> None:
    skipped = {
        "a.xyz": "unknown extension .xyz",
        "b.xyz": "unknown extension .xyz",
        "c.pdf": "is damaged",
        "d.txt": "byte 3 is not UTF-8 (0xe9); name it with --encoding cp1252",
        "e.txt": "byte 1,417 is not UTF-8 (0xff); name it with --encoding cp1252",
        "f [b].zst": "reading .zst files needs zstandard: pip install zstandard",
    }
    assert skipped_in_words({"skipped": skipped, "remarks": {"g.pdf": ["8 of 10 pages have no text"]}}) == [
        "  f [b].zst skipped: reading .zst files needs zstandard: pip install zstandard",
        "  2 files skipped, such as d.txt: byte 3 is not UTF-8 (0xe9); name it with --encoding cp1252",
        "  c.pdf skipped: is damaged",
        "  2 files skipped, such as a.xyz: unknown extension .xyz",
        "  g.pdf not wholly read: 8 of 10 pages have no text",
    ]


def test_the_rest_is_counted() -> None:
    shown = skipped_files.REASONS_SHOWN
    letters = "abcdefghijkl"
    lines = skipped_in_words({"skipped": {letter: f"reason {letter}" for letter in letters}})
    assert len(lines) == shown + 1
    assert lines[-1] == f"  and {len(letters) - shown} more skipped, listed in data.json"
    assert skipped_in_words({}) == []
