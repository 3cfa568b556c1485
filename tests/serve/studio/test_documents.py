"""Collections that are searched while a person talks in the studio."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.retrieval import documents
from gptsmith.retrieval.documents import Documents, index_folder
from gptsmith.retrieval.grounding import NOTHING_FOUND
from gptsmith.retrieval.mending import Mending
from gptsmith.serve.studio.documents import searched

from ...retrieval.conftest import FORGE
from ..conftest import serving
from .conftest import PHONE, Opened, opened
from .test_talk import ANSWER, TalkPage

HOSTILE = "<img src=x onerror=alert(1)>"
BRIDGE = "The bridge of Tolver was built by Oswin Penhallow in 1901, and Aldric paid for it.\n"
ASKED = {"model": "chat", "messages": [{"role": "user", "content": "Who opened the forge?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def knowing(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio with a model that answers, and three collections: of a forge, of a bridge, and an empty one."""
    folder = tmp_path_factory.mktemp("knowing")
    shutil.copytree(runs / "chat", folder / "runs" / "chat")
    (folder / "notes").mkdir()
    (folder / "notes" / f"{HOSTILE.replace('/', '')}.md").write_text(FORGE + HOSTILE, encoding="utf-8")
    (folder / "bridge.txt").write_text(BRIDGE, encoding="utf-8")
    with opened(folder) as found:
        found.post("data/make", name=HOSTILE, path="notes")
        found.post("data/make", name="桥", path="bridge.txt")
        found.post("data/make", name="Empty")
        yield found


def asked(studio: Opened, *collections: str, question: str = "Who opened the forge?") -> Any:
    """What documents hold on a question."""
    messages = [{"role": "user", "content": question}]
    answer = studio.ask("POST", "/v1/chat/completions", {**ASKED, "messages": messages, "collections": collections})
    assert answer.status == 200, answer.data
    return answer.json.get("documents")


def files(found: Any) -> list[str]:
    return [source["file"] for source in found["sources"]]


def test_questions_are_looked_up_in_the_collections_that_are_named(
    knowing: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LOOK_EVERY_S", 0.0)
    forge, bridge = f"{HOSTILE}/{HOSTILE}.md", "桥/bridge.txt"
    assert asked(knowing) is None
    assert files(asked(knowing, HOSTILE)) == [forge]
    assert asked(knowing, "桥")["note"] == NOTHING_FOUND
    together = asked(knowing, "桥", HOSTILE, question="Aldric Penhallow")
    assert sorted(files(together)) == sorted([forge, bridge])
    assert {row["name"]: row["state"] for row in knowing.get("documents")["collections"]} == {
        HOSTILE: "ready", "桥": "ready", "Empty": "closed",
    }  # fmt: skip
    (passage, *_) = (knowing.ask("GET", f"/v1/documents/{one['id']}").json for one in together["sources"])
    assert passage["file"] in (forge, bridge)
    assert "Penhallow" in passage["text"]
    for gone in ("999.ab-0", "1.ab-0", "ab-0", "1"):
        assert knowing.ask("GET", f"/v1/documents/{gone}").status == 404
    # What is written afterwards is found; nothing but the name of a collection is taken.
    (knowing.folder / "notes" / "later.md").write_text("The weathercock was gilded by Hesper Quillfeather.\n")
    assert asked(knowing, HOSTILE, question="Who gilded the weathercock?")["found"]
    for name in ("notes", str(knowing.folder), "../notes", "gone"):
        answer = knowing.ask("POST", "/v1/chat/completions", {**ASKED, "collections": [name]})
        assert (answer.status, "there is no collection" in answer.json["error"]["message"]) == (404, True)
    refused = knowing.ask("POST", "/v1/chat/completions", {**ASKED, "collections": ["Empty"]})
    assert (refused.status, refused.json["error"]["message"].startswith("'Empty': nothing to read")) == (400, True)


def test_only_a_studio_takes_collections(runs: Path) -> None:
    with serving([str(runs / "chat")]) as served:
        assert served.ask("POST", "/v1/chat/completions", {**ASKED, "collections": []}).status == 400


def test_the_index_of_what_was_uploaded_is_deleted_with_it(knowing: Opened) -> None:
    knowing.post("data/make", name="Mine")
    collection = knowing.server.studio.data.collections.get("Mine")
    (collection.sources / "forge.md").write_text(FORGE, encoding="utf-8")
    assert asked(knowing, "Mine")["found"]
    folder = index_folder([collection.sources])
    assert folder.exists()
    knowing.post("data/delete", name="Mine")
    assert not folder.exists()
    assert knowing.ask("POST", "/v1/chat/completions", {**ASKED, "collections": ["Mine"]}).status == 404


def test_what_was_excluded_edited_or_replaced_is_searched_so(knowing: Opened) -> None:
    knowing.post("data/make", name="Mended")
    data = knowing.server.studio.data
    collection = data.collections.get("Mended")
    (collection.sources / "forge.md").write_text(FORGE, encoding="utf-8")
    (collection.sources / "bridge.txt").write_text(BRIDGE, encoding="utf-8")
    (collection.sources / "mail.txt").write_text("Write to hesper@example.org about the weathercock.\n")
    assert asked(knowing, "Mended")["found"]
    reading = data.readings.read(collection)
    named = {reading.file_of(name).name: name for name in reading.number_of}
    excluded = knowing.post("data/exclude", name="Mended", document=named["forge.md"])["number"]
    assert not asked(knowing, "Mended")["found"]
    changed = BRIDGE.replace("Oswin Penhallow", "Ysolde Brackwater")
    knowing.post("data/edit", name="Mended", document=named["bridge.txt"], text=changed)
    (source,) = asked(knowing, "Mended", question="Who built the bridge of Tolver?")["sources"]
    assert (source["file"], source["line"]) == ("Mended/bridge.txt", None), "an edited text has no line in the file"
    assert "Ysolde Brackwater" in source["text"]
    knowing.post("data/redact", name="Mended", is_on=True)
    (source,) = asked(knowing, "Mended", question="To whom to write about the weathercock?")["sources"]
    assert "<EMAIL>" in source["text"]
    knowing.post("data/undo", name="Mended", number=excluded)
    assert asked(knowing, "Mended")["found"]
    words = data.arguments("Mended")
    assert words[-1] == "--redact"
    assert Path(words[0]).parts[-3] == "made"
    knowing.post("data/delete", name="Mended")


class Held:
    """Documents whose reading stops at 40 % until it is let go on."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def __call__(self, sources: list[Path], observe: Callable[[int, int], None], mending: Mending) -> Documents:
        observe(2, 5)
        while not self.goes_on.wait(0.02):
            observe(2, 5)
        return Documents(sources, observe, mending)


def test_a_person_chooses_what_is_searched(knowing: Opened, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(searched, "Documents", held)
    for name in (HOSTILE, "桥"):
        knowing.post("documents/cancel", name=name)
    seen = TalkPage(browser, knowing)
    page, hint = seen.page, seen.page.locator("#hint")
    seen.button("Documents").press("Enter")
    forge, empty = (page.get_by_role("checkbox", name=name, exact=True) for name in (HOSTILE, "Empty"))
    forge.press("Space")
    expect(hint).to_have_text("Reading your documents … 40 %")
    page.locator("#words").fill("Who opened the forge?")
    expect(page.locator("#send")).to_be_disabled()
    assert seen.violations() == []
    seen.button("Cancel").press("Enter")
    expect(forge).not_to_be_checked()
    expect(page.locator("#send")).to_be_enabled()
    forge.press("Space")
    page.reload()
    expect(hint).to_have_text("Reading your documents … 40 %")
    held.goes_on.set()
    expect(hint).not_to_contain_text("Reading")
    empty.check()
    expect(empty).not_to_be_checked()
    expect(page.locator("#documents-strip .wrong")).to_be_visible()
    # An answer shows its sources, and each its passage.
    seen.ask("Who opened the forge?")
    sources = page.locator(".sources")
    sources.locator("summary").press("Enter")
    expect(sources.locator("button")).to_contain_text(f"{HOSTILE}/{HOSTILE}.md, line 5")
    sources.locator("button").press("Enter")
    expect(page.locator(".beside")).to_contain_text("Aldric Penhallow opened the forge")
    expect(page.locator(".beside")).to_contain_text(f"eleven shillings. {HOSTILE}")
    assert seen.violations() == []
    page.keyboard.press("Escape")
    # A mark on it keeps what it was given.
    seen.button("Good answer").click()
    seen.has_marks("up")
    (answer,) = seen.marks()[0]["answers"]
    assert [source["file"] for source in answer["sources"]] == [f"{HOSTILE}/{HOSTILE}.md"]
    assert "Aldric Penhallow opened the forge" in answer["sources"][0]["text"]
    marks = seen.open("marks")
    marks.get_by_text("With 1 passage of your documents").click()
    expect(marks.locator(".marks")).to_contain_text(f"{HOSTILE}/{HOSTILE}.md")
    expect(marks.locator(".marks")).to_contain_text("Aldric Penhallow opened the forge")
    marks.close()
    seen.ask("Who is president of Zimbabwe?")
    expect(page.locator(ANSWER).last).to_contain_text(NOTHING_FOUND)
    # It stays chosen; pressed again, nothing is searched.
    page.reload()
    expect(forge).to_be_checked()
    expect(page.locator(ANSWER).last).to_contain_text(NOTHING_FOUND)
    page.set_viewport_size(PHONE["viewport"])
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 900})
    seen.button("Documents").click()
    expect(forge).to_be_hidden()
    seen.ask("Who opened the forge?")
    expect(page.locator(ANSWER).last).not_to_contain_text("source")
    seen.close()
