"""Pages that are brought up to date in place: what a person is at, or is typing, stays while news come in."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from .conftest import Opened, StudioPage

FOCUSED = "document.activeElement.isConnected && document.activeElement.innerText"
MARK = "document.activeElement.isTheSame = true"
HASTY = (
    "const real = setTimeout; window.setTimeout = (action, ms, ...given) => real(action, Math.min(ms, 60), ...given)"
)
"""Time runs fast: a page asks again at once."""
IS_MARKED = "document.activeElement.isTheSame === true"


def answered(seen: StudioPage, path: str, answer: Any) -> list[int]:
    """Answers requests for a path by `answer(n)` for the n-th; the numbers of those that came grow."""
    numbers: list[int] = []

    def fulfil(route: Any) -> None:
        numbers.append(len(numbers))
        route.fulfill(json=answer(numbers[-1]))

    seen.page.route(f"**/studio/api/{path}*", fulfil)
    return numbers


def stays(seen: StudioPage, numbers: list[int]) -> None:
    """The focus is on the same button after two more answers."""
    seen.page.evaluate(MARK)
    for wanted in range(len(numbers) + 1, len(numbers) + 3):
        while len(numbers) < wanted:
            seen.page.wait_for_timeout(50)
    seen.page.wait_for_timeout(50)
    assert seen.page.evaluate(IS_MARKED), seen.page.evaluate(FOCUSED)


def job(n: int, **more: Any) -> dict[str, Any]:
    progress = {"fraction": n / 100, "words": f"step {n}", "seconds_left": 100 - n}
    return {"id": "x", "title": "tales", "state": "running", "lane": "train", "message": None, "ended": None, **more,
            "progress": progress}  # fmt: skip


def row(name: str, loss: float) -> dict[str, Any]:
    facts = {"made_by": "pretrain", "made_from": None, "is_listed": False, "num_bytes": 5, "num_parameters": 7}
    return {
        "name": name,
        "state": "running",
        "kind": "base",
        "age_s": loss,
        "validation_loss": loss,
        "job": None,
        **facts,
    }


def test_news_neither_move_the_focus_nor_take_what_is_typed(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    seen.context.add_init_script(HASTY)
    page = seen.page
    # Home: each answer has a new loss of the first run and new progress of a job.
    asked = answered(seen, "home", lambda n: {"runs": [row("first", float(n)), row("second", 1.0)], "jobs": [job(n)]})
    page.reload()
    expect(page.locator(".run")).to_have_count(2)
    page.evaluate("document.querySelectorAll('.run')[1].isTheSame = true")
    seen.button("Stop: tales").focus()
    stays(seen, asked)
    # The row with news is another one; its button has the focus again. The row without is the same.
    seen.button("What to do with first").focus()
    so_far = len(asked)
    while len(asked) < so_far + 2:
        page.wait_for_timeout(50)
    expect(seen.button("What to do with first")).to_be_focused()
    assert page.evaluate("document.querySelectorAll('.run')[1].isTheSame")
    # A copy that is written, and texts that are read.
    copies = [{"name": "c", "is_ready": False, "format": "gguf", "precision": "q8_0", "job": None}]
    asked = answered(
        seen,
        "copies/of/first",
        lambda n: {"formats": {"gguf": ["q8_0"]}, "copies": [{**copies[0], "job": job(n)}]},
    )
    seen.go("take/first")
    page.get_by_role("button", name="Stop: GGUF").focus()
    stays(seen, asked)
    studio.post("data/make", name="Tales")
    (studio.folder / ".studio/data/Tales/files/tales.txt").write_text("The smith sings.\n")
    asked = answered(seen, "data/reading", lambda n: {"state": "reading", "fraction": n / 100})
    seen.go("data/Tales")
    seen.button("Cancel").focus()
    stays(seen, asked)
    seen.close()


def test_what_is_typed_outlives_what_arrives_late(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    page = seen.page
    late: list[Any] = []
    page.route("**/studio/api/train/models", lambda route: late.append(route))
    seen.go("train")
    expect(page.get_by_text("Looking for models")).to_be_visible()
    page.get_by_label("Name of the run").press_sequentially("my ru")
    while not late:
        page.wait_for_timeout(20)
    late[0].continue_()
    expect(page.get_by_text("Looking for models")).to_be_hidden()
    page.keyboard.type("n")
    expect(page.get_by_label("Name of the run")).to_have_value("my run")
    expect(page.get_by_label("Name of the run")).to_be_focused()
    # Fields stay while they are chosen from by keyboard.
    page.get_by_label("or a path").fill("texts/")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Begin with")).to_be_focused()
    seen.close()


def test_a_dialog_and_a_menu_end_with_their_view_and_are_in_the_language(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio, "data", locale="zh")
    page = seen.page
    page.locator(".drop button").last.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="取消")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".drop button").last).to_be_focused()
    page.keyboard.press("Enter")
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    seen.close()


def test_the_newest_question_counts_and_a_silent_studio_is_told(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    seen.context.add_init_script(HASTY)
    page = seen.page
    page.reload()
    # "Changed" is asked for, then "All", which is answered first: the late answer does not replace it.
    (studio.folder / "few").mkdir()
    (studio.folder / "few" / "tales.txt").write_text("The smith sings.\n")
    studio.post("data/make", name="Few", path="few")
    seen.go("data/Few")
    documents = page.locator(".documents li")
    expect(documents).to_have_count(1)
    late: list[Any] = []
    page.route("**/studio/api/data/documents?*which=changed*", lambda route: late.append(route))
    which = page.get_by_label("Which documents")
    which.select_option("changed")
    while not late:
        page.wait_for_timeout(20)
    which.select_option("all")
    page.wait_for_timeout(100)
    late[0].continue_()
    page.wait_for_timeout(300)
    expect(documents).to_have_count(1)
    expect(which).to_have_value("all")
    # What was pressed has the focus after its list is shown anew.
    which.focus()
    which.select_option("all")
    page.wait_for_timeout(300)
    expect(which).to_be_focused()
    # A studio that is away is told on every view, until it is back.
    page.route("**/studio/api/improve", lambda route: route.abort())
    seen.go("improve")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/studio/api/improve")
    expect(page.get_by_role("alert")).to_have_count(0)
    # So is one that hangs.
    page.evaluate(
        "globalThis.patient = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = () => patient(200)"
    )
    page.route("**/studio/api/improve", lambda route: None)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.evaluate("AbortSignal.timeout = patient")
    page.unroute("**/studio/api/improve")
    expect(page.get_by_role("alert")).to_have_count(0)
    # A name from right to left stands apart in its sentence; others are as they are.
    said = "async (name) => (await import('./page/studio/words.js')).t('home.from', { name })"
    assert page.evaluate(said, "שלום (1)") == "Made from \u2068שלום (1)\u2069"
    assert page.evaluate(said, "peace (1)") == "Made from peace (1)"
    seen.said.clear()  # the browser tells of the requests that failed
    seen.close()
