"""The view of data in a browser: files are dropped, seen, mended, and still so after a reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from .conftest import Opened, StudioPage

XSS = "<img src=x onerror=alert(1)>"


def folder_of_texts(folder: Path) -> Path:
    """A folder with small files, a large one, and names that are odd."""
    made = folder / "Letters"
    (made / "1999").mkdir(parents=True)
    (made / "1999" / "anna.txt").write_text("Dear Anna, the forge is cold.\n", encoding="utf-8")
    (made / "שלום 😀.md").write_text("# Peace\n\nAll is well at the forge.\n", encoding="utf-8")
    (made / f"{XSS}.txt".replace("/", "_")).write_text(f"{XSS}<script>alert(2)</script>", encoding="utf-8")
    (made / "picture.bin").write_bytes(b"\x00\x01" * 10)
    (made / "long.txt").write_text("The smith strikes the iron.\n" * 20_000, encoding="utf-8")
    (made / ".hidden").write_text("no", encoding="utf-8")
    return made


def test_a_folder_is_dropped_seen_and_mended(studio: Opened, browser: Any, tmp_path: Path) -> None:
    seen = StudioPage(browser, studio, "data")
    page = seen.page
    page.locator("input[webkitdirectory]").set_input_files(folder_of_texts(tmp_path))
    expect(page.get_by_role("heading", name="Letters")).to_be_visible()
    expect(page.get_by_text("Files added")).to_be_visible()
    expect(page.get_by_text("1 hidden file was left out.")).to_be_visible()
    for _ in range(2):
        files = page.get_by_role("region", name="Files", exact=True)
        expect(files.get_by_text("1999/anna.txt")).to_be_visible()
        expect(files.get_by_text("שלום 😀.md")).to_be_visible()
        expect(files.get_by_text("Skipped: unknown extension .bin")).to_be_visible()
        page.reload()
    assert len(list((studio.folder / ".studio" / "data" / "Letters" / "files").rglob("*.*"))) == 5
    seen.close()
