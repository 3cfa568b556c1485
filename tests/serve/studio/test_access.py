"""Who may use a studio: a browser with its token, and no page from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from starlette.routing import compile_path

from gptsmith.base.errors import UserError
from gptsmith.serve.route import find_route
from gptsmith.serve.studio.place import Place, StudioRunsError
from gptsmith.serve.studio.routes import STUDIO_ROUTES
from gptsmith.serve.studio.tickets import Tickets

from .conftest import Opened, StudioPage, opened

API = "/studio/api/tickets"


def test_nothing_is_told_without_the_token(studio: Opened) -> None:
    for path in ("/v1/models", "/studio/api/anything"):
        assert studio.ask("GET", path, token="x" * 32).status == 401
    assert studio.ask("POST", API, {"path": "/"}, token="x" * 32).status == 401
    assert studio.ask("POST", API, {"path": "/"}).status == 200


def test_no_address_is_let_in_as_another_one(studio: Opened) -> None:
    words = {word for route in STUDIO_ROUTES for word in route.path.split("/") if word and "{" not in word}
    paths = {re.sub("{.*}", word, route.path) for route in STUDIO_ROUTES for word in words}
    forms = [(compile_path(route.path)[0], route) for route in STUDIO_ROUTES]
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE"):
            chosen = next((one for form, one in forms if form.match(path) and one.method == method), None)
            if chosen is not None:
                assert find_route(STUDIO_ROUTES, method, path) is chosen, (method, path)
    assert studio.ask("DELETE", "/studio/api/marks/export", token="x" * 32).status == 401


def test_every_number_that_is_sent_fits_in_the_database() -> None:
    def whole_numbers(schema: Any) -> Iterator[Any]:
        if isinstance(schema, dict):
            if schema.get("type") == "integer":
                yield schema
            # The options of a verb are words of its command line, and in no database.
            schema = [part for name, part in schema.items() if name != "options"]
        for part in schema if isinstance(schema, list) else ():
            yield from whole_numbers(part)

    for route in STUDIO_ROUTES:
        if route.path.startswith("/studio/") and route.request_schema is not None:
            for number in whole_numbers(route.request_schema.model_json_schema()):
                assert number.get("maximum", 2**64) < 2**63, route


def test_a_number_of_a_query_is_one(studio: Opened) -> None:
    studio.post("data/make", name="numbers")
    for path in ("runs/x?offset=", "marks?offset=", "data/changes?name=numbers&limit="):
        for text in ("-1", "x", "9" * 5000, "", "1e3", "٣"):
            answer = studio.ask("GET", f"/studio/api/{path}{quote(text)}")
            assert answer.status == 400, (path, text)


def test_what_a_person_did_wrong_is_no_fault_of_the_program(studio: Opened, caplog: pytest.LogCaptureFixture) -> None:
    assert studio.ask("POST", "/studio/api/data/make", {"name": ""}).status == 400
    assert not caplog.records


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
    (own / "token").write_text("")
    with opened(tmp_path) as again:
        assert len(again.token) >= 32
    own.chmod(0o755)
    Place(tmp_path)
    for path in (own, own / "token", own / "server.json", own / "studio.sqlite"):
        assert path.stat().st_mode & 0o77 == 0, path


def test_a_studio_that_does_not_start_lets_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".studio" / "server.json").mkdir(parents=True)
    with pytest.raises(UserError), opened(tmp_path):
        pass
    (tmp_path / ".studio" / "server.json").rmdir()
    with opened(tmp_path):
        pass


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
    for path in (".studio", ".studio/token", "", "a\0b"):
        with pytest.raises(UserError, match="name a file or a folder"):
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


def test_a_repository_takes_up_nothing_of_what_is_the_studios_own(tmp_path: Path) -> None:
    ignored = Place(tmp_path).own / ".gitignore"
    assert ignored.read_text(encoding="utf-8") == "*\n"
    ignored.write_text("*\n!mine\n", encoding="utf-8")
    Place(tmp_path)
    assert ignored.read_text(encoding="utf-8") == "*\n!mine\n", "what a person wrote stays"
