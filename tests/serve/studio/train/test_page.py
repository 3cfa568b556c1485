"""The page of training: a story of its dial, its plan, its settings and its start, with a program that only says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from ..conftest import PHONE, Opened, StudioPage

NAME = "Alte Texte נפח 😀"


@pytest.mark.usefixtures("words_only")
@pytest.mark.story
def test_a_training_is_chosen_planned_set_and_started(studio: Opened, browser: Any) -> None:
    studio.post("data/make", name=NAME, path="text.txt")
    seen = StudioPage(browser, studio, "train")
    page = seen.page
    expect(seen.button("Start")).to_be_disabled()
    page.get_by_label("Learn from").select_option(NAME)
    plan = page.get_by_role("region", name="The plan")
    expect(plan.get_by_text("Predicted from your data and this machine")).to_be_visible()
    expect(plan.get_by_text("2.11 (2.02 to 2.19)")).to_be_visible()
    expect(page.get_by_text("60 kB is little text")).to_be_visible()
    expect(page.get_by_text("tune a model that exists")).to_be_visible()

    dial = page.get_by_role("slider", name="How long")
    dial.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dial).to_have_attribute("aria-valuetext", "2 min")
    expect(plan.get_by_text("the exact plan is being made")).to_be_visible()
    page.get_by_label("Time, such as").fill("1.5 h")
    page.get_by_label("Time, such as").blur()
    expect(plan.get_by_text("Predicted from")).to_be_visible()
    plans = [job for job in studio.get("jobs")["jobs"] if job["verb"] == "plan"]
    assert [job["state"] in ("stopping", "stopped") for job in plans] == [False, True, False]

    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("searchbox").fill("learning rate")
    page.get_by_label("learning_rate", exact=True).first.fill("fast")
    page.get_by_label("learning_rate", exact=True).first.blur()
    expect(plan.get_by_role("alert")).to_contain_text("train.optimizer.learning_rate: must be a number")
    page.get_by_label("learning_rate", exact=True).first.fill("0.02")
    page.get_by_label("learning_rate", exact=True).first.blur()
    expect(plan.get_by_text("Predicted from")).to_be_visible()
    page.reload()
    expect(page.get_by_text("1 setting is changed.")).to_be_visible()
    expect(page.get_by_label("Time, such as")).to_have_value("1 h 30 min")
    expect(plan.get_by_text("Predicted from")).to_be_visible()

    page.get_by_label("Name of the run").fill("../my run")
    seen.button("Start").click()
    expect(page).to_have_url(f"{studio.address}/#/runs/{quote('my_run')}")
    seen.go("train")
    page.get_by_label("Learn from").select_option(NAME)
    expect(page.get_by_text("It starts after 1 training before it.")).to_be_visible()
    (job,) = [job for job in studio.get("jobs")["jobs"] if job["run"] == "my_run"]
    command = studio.get(f"jobs/{job['id']}")["command"]
    assert "--set train.optimizer.learning_rate=0.02 --device cpu --minutes 90.0 --out runs/my_run" in command
    studio.post("jobs/cancel", id=job["id"], at_once=True)
    seen.close()


@pytest.mark.usefixtures("words_only")
def test_a_plan_that_failed_starts_nothing_and_says_why(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio, "train/text.txt?minutes=3.5")
    expect(seen.page.get_by_role("region", name="The plan").get_by_role("alert")).to_contain_text("no room")
    expect(seen.button("Start")).to_be_disabled()
    expect(seen.button("Start")).to_have_accessible_description("It cannot start so: see the plan.")
    seen.button("Try again").click()
    expect(seen.button("Start")).to_be_enabled()
    expect(seen.button("Start")).to_be_disabled()
    dial = seen.page.get_by_label("Time, such as")
    dial.fill("4.5")
    dial.blur()
    expect(seen.page.get_by_text("4.5 min are too short for this here: about 7 min are the least")).to_be_visible()
    dial.fill("10")
    dial.blur()
    expect(seen.button("Start")).to_be_enabled()
    seen.go("home")
    expect(seen.page.get_by_text("no room")).to_have_count(0)
    seen.close()


@pytest.mark.usefixtures("words_only")
def test_it_is_for_phones_in_the_dark_too(studio: Opened, browser: Any) -> None:
    address = "train/text.txt?minutes=45&set.train.batch_size=8&set.model.norm.kind=layernorm&option.seed=3"
    seen = StudioPage(browser, studio, address, **PHONE)
    expect(seen.page.get_by_text("Predicted from")).to_be_visible()
    expect(seen.page.get_by_text("2 settings are changed.")).to_be_visible()
    expect(seen.page.get_by_label("batch_size", exact=True)).to_have_value("8")
    seen.close()
