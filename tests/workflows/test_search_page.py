"""What the report says of a search: how much each setting mattered, each trial once, readable by a real browser."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptsmith.train.report import report
from gptsmith.train.search.importance import LEAST_TRIALS, importance
from gptsmith.train.search.plan import DROPOUT, RATE, ROWS, Range, SearchPlan
from gptsmith.train.search.trials import best_of, ended_trials, search_figures, search_plan

from ..pages.browser import Visit, open_browser

RANGES = {
    RATE: Range(default=1e-3, low=1e-4, high=1e-2, log=True),
    ROWS: Range(default=16, low=4, high=64, log=True, whole=True),
    DROPOUT: Range(default=0.1, low=0, high=0.3),
}


def write_search(folder: Path, *, num_trials: int = 24, num_ended: int = 24) -> Path:
    """A run whose search has come so far: the rate matters, the rest does not. At a high rate the loss is far off, or
    went astray."""
    chance = random.Random(3)
    search = folder / "search"
    search.mkdir(parents=True)
    (folder / "run.toml").write_text("", encoding="utf-8")
    plan = SearchPlan(table={}, ranges=RANGES, num_trials=num_trials, seed=1)
    (search / "search.json").write_text(json.dumps(plan.plain()), encoding="utf-8")
    for number in range(1, num_ended + 1):
        rate, rows = 10 ** chance.uniform(-4, -2), chance.randint(4, 64)
        dropout = round(chance.uniform(0, 0.3), 3)
        if number == 1:
            rate, rows, dropout = 1e-3, 16, 0.1
        elif number in (5, 9):
            rate = 9e-3
        loss = 1 + (math.log10(rate) + 3) ** 2 + chance.gauss(0, 0.02)
        figures: dict[str, Any] = {"status": "finished", "validation_loss": loss, "seconds": 61.5 + number}
        if number == 5:
            figures["validation_loss"] = 900.0
        elif number == 9:
            figures = {"status": "diverged", "seconds": 3.0}
        elif number > 1 and loss > 1.6:
            figures |= {"status": "pruned", "share": 0.4, "validation_loss": loss + 0.2}
        trial = search / f"trial-{number:04d}"
        trial.mkdir()
        settings = (
            f"[train]\nbatch_size = {rows}\noptimizer = {{ learning_rate = {rate} }}\n[model]\ndropout = {dropout}\n"
        )
        (trial / "run.toml").write_text(settings, encoding="utf-8")
        (trial / "result.json").write_text(json.dumps(figures), encoding="utf-8")
    return folder


def test_a_setting_with_a_best_value_in_the_middle_matters_and_the_others_do_not(tmp_path: Path) -> None:
    figures = search_figures(write_search(tmp_path / "run"))
    assert figures is not None
    shares = {setting["name"]: setting["importance"] for setting in figures["settings"]}
    assert shares[RATE] > 0.7
    assert shares[ROWS] < 0.2
    assert shares[DROPOUT] < 0.2
    assert figures["settings"][0]["label"] == "learning rate"


def test_a_trial_that_was_given_up_or_has_no_loss_is_never_the_best(tmp_path: Path) -> None:
    run = write_search(tmp_path / "run", num_ended=LEAST_TRIALS)
    plan = search_plan(run)
    assert plan is not None
    known = [("pruned", 1.0), ("finished", float("nan")), ("finished", 3.0), ("early_stopped", 2.0), ("diverged", None)]
    for number, (status, loss) in enumerate(known, 1):
        result = {"status": status, "validation_loss": loss, "seconds": 1.0}
        (run / "search" / f"trial-{number:04d}" / "result.json").write_text(json.dumps(result), encoding="utf-8")
    trials = ended_trials(run, plan)
    assert [trial.number for trial in trials] == [4, 3, 1, 2, 5]
    assert best_of(trials) is trials[0]
    assert best_of(trials[2:]) is None
    figures = search_figures(run)
    assert figures is not None
    assert [trial["loss"] for trial in figures["trials"]] == [2.0, 3.0, 1.0, None, None]


def test_known_shares() -> None:
    rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    shares = importance(
        {"line": rising, "same": [2.0] * 6, "log": [10**value for value in rising], "two": [0, 0, 0, 1, 1, 1]},
        [math.exp(value) for value in rising],
        log={"log"},
    )
    assert shares["line"] == pytest.approx(1)
    assert shares["log"] == pytest.approx(1)
    assert shares["same"] == 0
    residual = 2 * 2  # within 1, 2, 3 and within 4, 5, 6
    assert shares["two"] == pytest.approx(1 - (residual / 4) / (17.5 / 5))
    assert importance({"any": [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]}, [2.0] * 6) == {"any": 0}


def test_only_the_order_of_the_losses_counts() -> None:
    chance = random.Random(0)
    tried = {"any": [chance.random() for _ in range(12)]}
    losses = [value + chance.random() for value in tried["any"]]
    off = max(losses)
    far = [math.inf if loss == off else math.exp(10 * loss) for loss in losses]
    assert importance(tried, losses) == importance(tried, far)


def test_nothing_that_matters_comes_out_where_nothing_does() -> None:
    shares = []
    for seed in range(200):
        chance = random.Random(seed)
        values = {"any": [chance.random() for _ in range(10)]}
        shares.append(importance(values, [chance.random() for _ in range(10)])["any"])
    assert sum(shares) / len(shares) < 0.15
    assert sorted(shares)[100] == 0, "half of the time it is nothing at all"


def test_of_few_trials_nothing_is_said() -> None:
    values = list(range(LEAST_TRIALS))
    assert importance({"any": values[:-1]}, values[:-1]) == {}
    assert importance({"any": values}, values) == {"any": pytest.approx(1)}


def test_a_run_without_a_search_has_no_such_section(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("", encoding="utf-8")
    assert search_figures(tmp_path) is None
    assert 'id="search"' not in report(tmp_path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def charts(visit: Visit) -> Any:
    return visit.page.locator("#search svg.chart")


def test_a_browser_draws_each_trial_in_each_chart_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    run = write_search(tmp_path / "run")
    address = report(run).as_uri()
    visit = Visit(browser, address)
    visit.page.wait_for_selector("#search .trial")
    assert charts(visit).count() == 3
    for chart in charts(visit).all():
        numbers = chart.evaluate("svg => [...svg.querySelectorAll('[data-trial]')].map(t => Number(t.dataset.trial))")
        assert sorted(numbers) == [number for number in range(1, 25) if number != 9], (
            "the one without a loss is left out"
        )
        assert chart.locator("path.trial").count() == 1, "the one far above"
        assert chart.locator(".given-up").count() == 6
        assert chart.locator("circle.c1").count() == 1
    figures = search_figures(run)
    assert figures is not None
    rows = visit.page.locator("#search tbody tr")
    shown = [rows.nth(i).locator("td").first.inner_text() for i in range(rows.count())]
    assert shown == [str(trial["number"]) for trial in figures["trials"]]
    assert rows.first.locator("td").last.inner_text() == "the best"
    assert "given up after 40 %" in rows.nth(20).inner_text()
    assert "went astray" in rows.last.inner_text()
    words = visit.page.locator("#search > .search > p").inner_text()
    assert words.startswith("24 trials have ended, 7 of them given up before their end.")
    assert f"The best is trial {shown[0]}, with a validation loss of" in words
    bars = visit.page.locator("#search .importance li")
    assert bars.first.inner_text().split("\n")[0] == "learning rate"
    assert visit.console == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [address]


def test_all_charts_and_the_table_show_the_trial_that_one_is_asked_about(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report(write_search(tmp_path / "run")).as_uri())
    visit.page.wait_for_selector("#search .trial")
    chart = charts(visit).first
    chart.locator("circle.c1").hover()
    best = visit.page.locator("#search tbody tr").first.locator("td").first.inner_text()
    tip = visit.page.locator("#search .tip:visible")
    assert tip.count() == 1
    assert f"trial {best}:" in tip.inner_text()
    assert visit.page.locator("#search .ring.marked").count() == 3
    assert visit.page.locator("tr.marked").first.locator("td").first.inner_text() == best
    visit.page.mouse.move(5, 5)
    assert visit.page.locator("#search .ring.marked, tr.marked").count() == 0
    chart.focus()
    visit.page.keyboard.press("ArrowRight")
    lowest = visit.page.locator("#search .tip:visible").inner_text()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.locator("#search .tip:visible").inner_text() != lowest
    visit.page.locator("#search tbody tr").nth(3).hover()
    assert visit.page.locator("#search .ring.marked").count() == 3
    said = chart.get_attribute("aria-label")
    assert said.startswith("Validation loss by learning rate: trial ")


@pytest.mark.parametrize("num_ended", [0, 1, 4])
def test_a_search_that_has_just_begun_is_shown(browser: Any, tmp_path: Path, num_ended: int) -> None:
    run = write_search(tmp_path / "run", num_ended=num_ended)
    visit = Visit(browser, report(run).as_uri(), dark=True, width=360)
    assert f"{num_ended} of 24 trials have ended" in visit.page.locator("#search").inner_text()
    assert visit.page.locator("#search .importance").count() == 0
    assert charts(visit).first.locator("[data-trial]").count() == num_ended
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360
    assert visit.console == []
