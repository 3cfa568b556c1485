"""Home, the view of a run and the comparison, by keyboard and pointer, in one story each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ..conftest import Opened, StudioPage, opened
from .conftest import copy

NASTY = "🦊 شجرة &lt;img src=x onerror=alert(1)>".replace("&lt;", "(").replace(">", ")")


@pytest.mark.story
def test_a_family_is_shown_compared_renamed_and_deleted(family: Opened, browser: Any) -> None:
    copy(family.folder / "runs" / "chat", family.folder / "runs" / "spare")
    seen = StudioPage(browser, family)
    page = seen.page
    rows = page.locator(".run")
    expect(rows).to_have_count(5)
    expect(page.get_by_role("link", name="Talk to labels")).to_have_count(0)
    depth = "e => [e.dataset.run, getComputedStyle(e).getPropertyValue('--depth')]"
    assert dict(row.evaluate(depth) for row in rows.all()) == {
        "base": "0",
        "chat": "1",
        "adapted": "1",
        "labels": "1",
        "spare": "1",
    }

    def more(name: str) -> Any:
        """The button of a run's menu; a name that runs from right to left stands apart in its words."""
        return page.locator(f'.run[data-run="{name}"] .icon-button')

    # Another tab sees what is done in this one.
    other = seen.open()
    seen.button("What to do with spare").press("Enter")
    page.keyboard.press("ArrowUp")  # from the first entry to the last one but Delete
    seen.button("Rename").click()
    page.get_by_role("textbox", name="New name").fill(NASTY)
    page.keyboard.press("Enter")
    expect(other.locator(f'.run[data-run="{NASTY}"] a.run-name')).to_have_text(NASTY)
    more(NASTY).click()
    seen.button("Use by default").click()
    expect(other.locator(f'.run[data-run="{NASTY}"]')).to_contain_text("default")
    more(NASTY).click()
    seen.button("Delete").click()
    seen.button("Delete", page.get_by_role("dialog")).click()
    expect(other.locator(".run")).to_have_count(4)
    seen.button("What to do with base").click()
    seen.button("Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("Made from it: adapted, chat, labels")
    seen.button("Cancel", page.get_by_role("dialog")).click()
    page.get_by_label("Compare base").check()
    page.get_by_label("Compare chat").check()
    seen.button("Compare 2").click()
    expect(page.locator("thead")).to_contain_text("chat")
    expect(page.locator("figure").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("row", name="Bits per byte")).to_be_visible()
    seen.close()


def test_a_run_is_watched_with_its_report(family: Opened, browser: Any) -> None:
    seen = StudioPage(browser, family, "runs/chat", viewport={"width": 360, "height": 800})
    page = seen.page
    expect(page.get_by_role("heading", name="chat", exact=True)).to_be_visible()
    expect(page.locator("figure").first).to_be_visible()
    expect(page.locator(".sample").first).to_be_visible()
    expect(page.get_by_role("heading", name="Events")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    with page.expect_popup() as popup:
        seen.button("Report").click()
    expect(popup.value.get_by_role("heading", name="chat", exact=True)).to_be_visible()
    assert "token" not in popup.value.url
    popup.value.close()
    expect(page.locator("main .primary")).to_have_text("Talk")
    page.get_by_role("link", name="base", exact=True).click()
    expect(page.get_by_text("Made from it:")).to_be_visible()
    seen.go("runs/no such")
    expect(page.get_by_role("alert")).to_contain_text("there is no run")
    seen.said.clear()  # the browser tells of the 404
    seen.close()


def test_an_empty_home_says_what_to_do_and_shows_what_runs(runs: Path, tmp_path: Path, browser: Any) -> None:
    with opened(tmp_path) as studio:
        seen = StudioPage(browser, studio)
        expect(seen.page.locator(".steps li")).to_have_count(3)
        expect(seen.page.locator("main .primary:visible")).to_have_text("Data")
        assert seen.violations() == []
        studio.server.studio.jobs.add("no-such-verb", [], title="my <b>texts</b>", run="x")
        expect(seen.page.locator(".job")).to_contain_text("my <b>texts</b>")
        expect(seen.page.locator(".job")).to_contain_text("no such verb")
        shutil.copytree(runs / "base", tmp_path / "runs" / "from the terminal")
        expect(seen.page.get_by_role("link", name="from the terminal", exact=True)).to_be_visible()
        expect(seen.page.get_by_role("link", name="Train a model")).to_be_visible()
        # The next step with a model that is ready.
        expect(seen.page.get_by_role("link", name="Talk to from the terminal")).to_have_attribute(
            "href", "talk?model=from%20the%20terminal"
        )
        seen.page.get_by_label("Language").select_option("zh")
        expect(seen.page.locator(".run")).to_contain_text("已完成")
        seen.close()


def test_what_waits_is_moved_up_and_dropped_at_home(family: Opened, browser: Any) -> None:
    jobs = family.server.studio.jobs
    with family.server.studio.database.transaction() as connection:  # before any of them can start
        names = [jobs.add("pretrain", ["none"], title=title) for title in ("runs", "one", "two")]
        connection.execute("UPDATE jobs SET lane = 'held' WHERE id IN (?, ?, ?)", names)
    seen = StudioPage(browser, family)
    rows = seen.page.locator(".job a.run-name")
    expect(rows).to_have_text(["runs", "one", "two"])
    expect(seen.button("Run earlier: runs")).to_be_hidden()
    seen.button("Run earlier: two").press("Enter")
    expect(rows).to_have_text(["runs", "two", "one"])
    seen.button("Run earlier: two").click()
    expect(rows).to_have_text(["two", "runs", "one"])
    expect(seen.button("Run earlier: two")).to_be_hidden()
    seen.button("Cancel: runs").click()
    expect(rows).to_have_text(["two", "one"])
    assert seen.violations() == []
    for name in names:
        jobs.cancel(name)
    seen.close()
