"""The view of data in a browser: files are dropped, seen, mended, and still so after a reload."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import Opened, StudioPage

XSS = "<img src=x onerror=alert(1)>"


def folder_of_texts(folder: Path) -> Path:
    """A folder with small files, a large one, and names and texts that are odd."""
    made = folder / "Letters"
    (made / "1999").mkdir(parents=True)
    texts = {
        "1999/anna.txt": "Dear Anna, write to smith@example.org.\n",
        "שלום 😀.md": "# Peace\n\nAll is well at the forge.\n",
        f"{XSS}.txt": f"{XSS}<script>alert(2)</script>",
        "long.txt": "The smith strikes the iron.\n" * 20_000,
        ".hidden": "no",
        "chats.jsonl": json.dumps({"prompt": f"{XSS}?", "completion": "</pre><script>alert(3)</script>"}) + "\n",
    }
    for name, text in texts.items():
        (made / name).write_text(text, encoding="utf-8")
    (made / "picture.bin").write_bytes(b"\x00\x01" * 10)
    return made


def drop(seen: StudioPage, path: Path) -> None:
    """Drops a file or a folder of this machine on the page, as a person does."""
    client = seen.context.new_cdp_session(seen.page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        client.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})


@pytest.mark.story
def test_a_folder_is_dropped_seen_and_mended(studio: Opened, browser: Any, tmp_path: Path) -> None:
    seen = StudioPage(browser, studio, "data")
    page = seen.page
    part = page.locator(".view > section.card").last
    drop(seen, folder_of_texts(tmp_path))
    expect(page.get_by_role("heading", name="Letters")).to_be_visible()
    expect(page.get_by_text("6 files added. 1 hidden file was left out.")).to_be_visible()
    for is_again in (False, True):
        if is_again:
            page.reload()
        expect(page.get_by_text("5 documents · 560 kB · text")).to_be_visible()
        expect(page.get_by_text("1 file was skipped")).to_be_visible()
        expect(part.get_by_text("1999/anna.txt")).to_be_visible()
        expect(part.get_by_text(f"{XSS}<script>alert(2)</script>")).to_be_visible()
    source = {path: path.read_bytes() for path in (studio.folder / ".studio/data/Letters/files").rglob("*.*")}
    assert len(source) == 6

    seen.button("Exclude a document of long.txt", part).click()
    expect(page.get_by_text("4 documents · 156 bytes")).to_be_visible()
    page.reload()
    expect(part.locator("li", has_text="long.txt").get_by_text("Excluded")).to_be_visible()
    part.get_by_text("1999/anna.txt").click()
    expect(page.get_by_role("region", name="Source")).to_contain_text("Dear Anna")
    seen.button("Edit").click()
    page.get_by_label("Edit the text").fill(f"Dear Bob, {XSS}")
    page.reload()
    expect(page.get_by_label("Edit the text")).to_have_value(f"Dear Bob, {XSS}")
    seen.button("Save").click()
    expect(page.get_by_role("region", name="As a model reads it")).to_contain_text(f"Dear Bob, {XSS}")
    expect(page.get_by_role("region", name="Source")).to_contain_text("Dear Anna")
    page.reload()
    expect(page.get_by_role("region", name="As a model reads it")).to_contain_text(f"Dear Bob, {XSS}")

    page.emulate_media(color_scheme="dark")
    page.get_by_role("link", name="Examples").click()
    expect(part.locator("mark")).to_contain_text("</pre><script>alert(3)</script>")
    page.get_by_role("link", name="Changes").click()
    part.get_by_role("button", name="Undo: Edited: 1999/anna.txt").click()
    expect(part.locator("li")).to_have_count(1)
    seen.button("Undo: Excluded: long.txt", part).click()
    page.reload()
    expect(page.get_by_text("Nothing is changed.")).to_be_visible()
    expect(page.get_by_text("5 documents · 560 kB")).to_be_visible()

    page.get_by_role("link", name="Findings").click()
    seen.button("Look for them").click()
    page.reload()
    page.get_by_role("link", name="E-mail addresses").click()
    expect(part.get_by_text("smith@example.org")).not_to_be_visible()
    seen.button("Show text").click()
    expect(part.get_by_text("smith@example.org")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    seen.button("Exclude all: E-mail addresses").click()
    expect(page.get_by_text("4 documents · 560 kB")).to_be_visible()
    page.get_by_role("link", name="Changes").click()
    expect(part.get_by_text("Excluded 1 document: E-mail addresses")).to_be_visible()
    seen.button("Undo").click()
    expect(page.get_by_text("Nothing is changed.")).to_be_visible()
    page.get_by_role("link", name="Findings").click()
    page.get_by_label("Replace personal data").check()
    page.get_by_role("link", name="Documents").click()
    part.get_by_text("1999/anna.txt").click()
    expect(page.get_by_role("region", name="As a model reads it")).to_contain_text("write to <EMAIL>")
    page.get_by_role("link", name="Train on this").click()
    expect(page).to_have_url(re.compile("#/train/Letters"))
    assert {path: path.read_bytes() for path in source} == source
    seen.close()


@pytest.mark.story
def test_five_thousand_files_are_few_requests(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio, "data")
    page = seen.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    studio.post("data/make", name="many")
    studio.post("data/make", name=XSS)
    page.reload()
    expect(page.get_by_role("heading", name=XSS)).to_be_visible()
    seen.go("data/many")
    expect(page.get_by_text("Drop files or a folder here")).to_be_visible()
    begin = """
        async () => {
            const { begin } = await import("/page/studio/data_upload.js");
            const file = (n) => new File([`text ${n}`], "", { lastModified: 1.7e12 });
            const files = Array.from({ length: 5000 }, (_, n) => ({ path: `${n % 9}/${n}.txt`, file: file(n) }));
            await begin("many", files).whenOver;
        }
    """
    asked.clear()
    page.evaluate(begin)
    assert len(asked) < 25
    listed = studio.get("data/files?name=many&limit=200")
    assert (listed["num_items"], len(listed["items"])) == (5000, 200)
    asked.clear()
    page.evaluate(begin)
    assert not any("packs" in url for url in asked), "what is there is not sent again"

    # A studio that does not answer for a while is waited for, and asked how much has arrived.
    page.route("**/data/uploads/*", lambda route: route.abort(), times=1)
    page.evaluate(
        """async () => {
            const { begin } = await import("/page/studio/data_upload.js");
            const file = new File(["x".repeat(5e6)], "", { lastModified: 1.7e12 });
            await begin("many", [{ path: "large.txt", file }]).whenOver;
        }"""
    )
    (large,) = (studio.folder / ".studio/data/many/files").glob("large.txt")
    assert large.read_bytes() == b"x" * 5_000_000
    # What is cancelled goes on when it is added again.
    cancelled = page.evaluate(
        """async () => {
            const { begin } = await import("/page/studio/data_upload.js");
            const file = new File(["y".repeat(12e6)], "", { lastModified: 1.7e12 });
            const upload = begin("many", [{ path: "late.txt", file }]);
            upload.listen(({ done }) => { if (done > 4e6) upload.cancel(); });
            await upload.whenOver;
            const before = upload.isCancelled && upload.done;
            await begin("many", [{ path: "late.txt", file }]).whenOver;
            return before;
        }"""
    )
    assert 4_000_000 < cancelled < 12_000_000
    (late,) = (studio.folder / ".studio/data/many/files").glob("late.txt")
    assert late.read_bytes() == b"y" * 12_000_000
    assert seen.said == ["Failed to load resource: net::ERR_FAILED"]
    seen.said.clear()
    seen.close()
