"""Who may use a studio: a browser with its token, and no page from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.base.errors import UserError
from gptsmith.serve.studio.place import Place, StudioRunsError
from gptsmith.serve.studio.tickets import Tickets

from .conftest import Opened, StudioPage, opened

API = "/studio/api/tickets"


def test_nothing_is_told_without_the_token(studio: Opened) -> None:
    for path in ("/v1/models", "/studio/api/anything"):
        assert studio.ask("GET", path, token="x" * 32).status == 401
    assert studio.ask("POST", API, {"path": "/"}, token="x" * 32).status == 401
    assert studio.ask("POST", API, {"path": "/"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://127.0.0.1:9"}, {"Origin": "https://example.org"}, {"Host": "example.org"}, {"Origin": "null"}],
)
def test_pages_from_elsewhere_are_refused_even_with_the_token(studio: Opened, headers: dict[str, str]) -> None:
    assert studio.ask("POST", API, {"path": "/"}, headers=headers).status == 403


def test_a_browser_is_let_in_by_the_address_and_stays_so(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    assert studio.token not in seen.page.url
    second = seen.context.new_page()
    second.goto(studio.address)
    expect(second.get_by_role("heading", name="Home")).to_be_visible()
    seen.close()


def test_views_follow_the_language_and_the_colours(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    seen.page.get_by_label("Language").select_option("zh")
    expect(seen.page.locator("#top").get_by_role("link", name="训练")).to_be_visible()
    seen.page.get_by_label("颜色").select_option("dark")
    seen.page.reload()
    expect(seen.page.locator("html[lang=zh][data-theme=dark]")).to_be_visible()
    seen.close()


def test_one_studio_a_folder_and_its_token_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        with pytest.raises(StudioRunsError) as caught:
            Place(tmp_path).take()
        assert caught.value.address == first.server.page
        token = first.token
    with opened(tmp_path) as again:
        assert again.token == token
    own = tmp_path / ".studio"
    assert own.stat().st_mode & 0o77 == 0
    assert (own / "token").stat().st_mode & 0o77 == 0


def test_paths_outside_are_used_only_if_they_were_allowed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    place = Place(here, [there])
    (here / "link").symlink_to(tmp_path)
    assert place.inside("runs/mine") == here / "runs" / "mine"
    assert place.inside(there / "text") == there / "text"
    for path in ("..", "../other", "link/other", str(tmp_path), "/etc/passwd"):
        with pytest.raises(UserError, match="--allow"):
            place.inside(path)
    with pytest.raises(UserError, match="no such folder"):
        Place(here, [tmp_path / "missing"])


def test_a_ticket_opens_one_address_once_and_for_a_minute() -> None:
    now = 0.0
    tickets = Tickets(lambda: now)
    first, second = tickets.make("/a"), tickets.make("/a")
    assert not tickets.open("other", "/a")
    assert not tickets.open(first, "/b")
    assert not tickets.open(first, "/a")
    assert tickets.open(second, "/a")
    assert not tickets.open(second, "/a")
    late = tickets.make("/a")
    now = 61.0
    assert not tickets.open(late, "/a")
