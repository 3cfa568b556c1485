"""Which differences between runs are more than chance: measured by a press, and said in words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.run_folders.differences import _figures

from ...conftest import until
from ..conftest import StudioPage, opened
from .conftest import copy


def figures(difference: tuple[float, float, float], p_value: float, num_others: int = 1) -> bool:
    low, high = difference[1:]
    compared = {"difference": difference[0], "difference_interval": [low, high], "p_value": p_value}
    measured = {"bits_per_byte": 1.0, "bits_per_byte_low": 0.9, "bits_per_byte_high": 1.1}
    result = {**measured, "against": measured, "comparison": {"bits_per_byte": compared}}
    return bool(_figures(result, num_others)["is_real"])


def test_a_difference_is_real_beyond_chance_only() -> None:
    assert figures((0.1, 0.05, 0.15), 0.001)
    assert figures((-0.1, -0.15, -0.05), 0.001)
    assert not figures((0.1, -0.05, 0.25), 0.2)
    assert not figures((0.0, 0.0, 0.0), 1.0)
    assert not figures((0.1, 0.01, 0.2), 0.02, num_others=7), "of seven, one is so by chance"


@pytest.mark.story
def test_runs_are_measured_on_one_text_by_a_press(runs: Path, tmp_path: Path, browser: Any) -> None:
    for name in ("base", "same", "other"):
        copy(runs / "base", tmp_path / "runs" / name)
    shutil.copytree(runs / "smiths", tmp_path / "runs" / "smiths")  # the text that they name
    with opened(tmp_path) as studio:

        def measured() -> bool:
            jobs = studio.get("jobs")["jobs"]
            return bool(jobs) and all(job["ended"] for job in jobs)

        seen = StudioPage(browser, studio, "compared/base/same")
        card = seen.page.get_by_role("region", name="Is the difference real?")
        seen.button("Measure", card).click()
        until(measured, "they are measured")
        expect(card).to_contain_text("The difference between same and base means nothing")
        expect(seen.button("Measure", card)).to_be_hidden()
        (row,) = studio.get("differences?run=base&run=same")["differences"]
        assert row["figures"]["difference"] == [0, 0, 0]
        assert row["figures"]["first"] == row["figures"]["other"]
        assert row["figures"]["is_same_text"]
        expect(card).to_contain_text(f"{row['figures']['first'][0]:.4f} bits per byte (")
        assert seen.violations() == []
        # Weights that were trained on are measured anew; why that fails is said, and it can be tried again.
        os.utime(next((tmp_path / "runs" / "same" / "checkpoints").iterdir()))
        assert studio.get("differences?run=base&run=same")["differences"][0]["job"] is None
        shutil.rmtree(tmp_path / "runs" / "smiths")
        seen.go("compared/base/other")
        seen.button("Measure", card).click()
        until(measured, "it fails")
        expect(card.locator(".job")).to_contain_text("smiths, which is not there")
        expect(seen.button("Measure", card)).to_be_visible()
        refused = studio.ask("POST", "/studio/api/differences", {"runs": ["base"]})
        assert (refused.status, "between 2 and" in refused.error["message"]) == (400, True)
        seen.close()
