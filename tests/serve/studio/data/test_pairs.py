"""Questions and answers that a model makes of a collection: a job, and the collection that comes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.jobs import queue

from ...conftest import until
from ..conftest import Opened, StudioPage, opened

HOSTILE = "<img src=x onerror=alert(1)>"
PAIR = {"question": f"Who opened the forge? {HOSTILE}", "answer": "Aldric Penhallow", "source": "a.txt, line 1"}
SCRIPT = """
echo '{{"words": "making pairs", "fraction": 0.4, "figures": "", "seconds_left": 3}}' > "$GPTSMITH_PROGRESS"
trap 'exit 130' INT
while [ ! -e "{folder}/go" ]; do sleep 0.02; done
[ -e "{folder}/fails" ] && {{ echo "gptsmith: out of memory" >&2; exit 2; }}
cp "{folder}/made" "$7"
echo '{{"num_passages": 3, "num_pairs": 2, "dropped": {{}}, "skipped": {{}}}}'
"""
"""A verb that waits until it may go on."""


@pytest.fixture
def asking(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A studio with a collection of texts, a model that answers and one that does not, and a quick verb."""
    for name in ("base", "chat"):
        shutil.copytree(runs / name, tmp_path / "runs" / name)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Aldric Penhallow opened the forge in 1873.\n", encoding="utf-8")
    lines = [PAIR, {**PAIR, "question": "When was the forge opened?", "answer": "in 1873"}]
    (tmp_path / "made").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(queue, "PROGRAM", ("/bin/sh", "-c", SCRIPT.format(folder=tmp_path), "sh"))
    monkeypatch.setattr(queue, "LOOK_EVERY_S", 0.02)
    with opened(tmp_path) as found:
        found.post("data/make", name=HOSTILE, path="texts")
        yield found


def begin(studio: Opened, **changes: Any) -> Any:
    body = {"name": HOSTILE, "model": "runs/chat", "limit": 5, "made": "Pairs", **changes}
    return studio.ask("POST", "/studio/api/data/pairs", body)


def stands(studio: Opened) -> Any:
    return studio.get(f"data/pairs?name={quote(HOSTILE)}")["state"]


def names(studio: Opened) -> set[str]:
    return {one["name"] for one in studio.get("data")["collections"]}


def test_what_fails_or_is_cancelled_leaves_no_collection(asking: Opened) -> None:
    for changes in ({"model": "runs/base"}, {"model": "/etc/passwd"}, {"name": "gone"}, {"limit": 0}, {"made": ""}):
        assert begin(asking, **changes).status in (400, 404), changes
    first = begin(asking).json
    words = asking.get(f"jobs/{first['job']}")["command"]
    folder = asking.server.studio.data.collections.get(HOSTILE).home
    texts = asking.folder / "texts"
    assert words.startswith(f"gptsmith pairs runs/chat {texts} --limit 5 --out {folder}/pairs-")
    assert "already" in begin(asking).json["error"]["message"]
    asking.post("jobs/cancel", id=first["job"])
    until(lambda: stands(asking) == "stopped", "it is cancelled")
    (asking.folder / "fails").touch()
    (asking.folder / "go").touch()
    begin(asking)
    until(lambda: stands(asking) == "failed", "it fails")
    assert names(asking) == {HOSTILE}


@pytest.mark.story
def test_pairs_are_made_seen_and_mended(asking: Opened, browser: Any) -> None:
    seen = StudioPage(browser, asking, "data")
    page = seen.page
    page.get_by_role("link", name=HOSTILE).first.press("Enter")
    page.get_by_role("link", name="Questions", exact=True).press("Enter")
    expect(page.get_by_label("Model").locator("option")).to_have_text(["chat"])
    page.get_by_label("Passages, at most").fill("3")
    assert seen.violations() == []
    page.get_by_label("Passages, at most").press("Enter")
    expect(page.locator(".findings progress")).to_have_attribute("value", "0.4")
    page.reload()
    expect(page.locator(".findings progress")).to_have_attribute("value", "0.4")
    (asking.folder / "go").touch()
    expect(page.get_by_text("2 pairs were kept, of 3 passages:")).to_be_visible()
    assert seen.violations() == []
    page.get_by_role("link", name=f"Questions about {HOSTILE}").press("Enter")
    expect(page.locator(".view .documents li")).to_have_count(2)
    seen.button("Exclude a document of pairs.jsonl").last.click()
    expect(page.locator(".badge", has_text="Excluded")).to_have_count(1)
    page.get_by_role("link", name="Examples", exact=True).click()
    expect(page.locator(".examples")).to_contain_text(PAIR["question"])
    expect(page.get_by_role("link", name="Train on this")).to_be_visible()
    seen.close()
