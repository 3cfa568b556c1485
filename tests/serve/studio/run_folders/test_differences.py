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
    for source, name in (("base", "base"), ("base", "same"), ("labels", "labels")):
        copy(runs / source, tmp_path / "runs" / name)
    shutil.copytree(runs / "smiths", tmp_path / "runs" / "smiths")  # the text that they name
    with opened(tmp_path) as studio:
        seen = StudioPage(browser, studio, "compared/base/same/labels")
        card = seen.page.get_by_role("region", name="Is the difference real?")
        seen.button("Measure", card).click()
        until(lambda: all(job["ended"] for job in studio.get("jobs")["jobs"]), "they are measured")
        expect(card).to_contain_text("The difference between same and base means nothing")
        expect(card.locator(".job")).to_contain_text("base / labels")  # which writes no text, and says so
        expect(card.locator(".job")).to_contain_text("Failed")
        (row, other) = studio.get("differences?run=base&run=same&run=labels")["differences"]
        assert row["figures"]["difference"] == [0, 0, 0]
        assert row["figures"]["first"] == row["figures"]["other"]
        assert row["figures"]["is_same_text"]
        assert other["figures"] is None
        expect(card).to_contain_text(f"{row['figures']['first'][0]:.4f} bits per byte (")
        seen.page.reload()
        expect(card).to_contain_text("means nothing")
        assert seen.violations() == []
        # Weights that were trained on are measured anew.
        (weights, *_) = (tmp_path / "runs" / "same" / "checkpoints").iterdir()
        os.utime(weights)
        assert studio.get("differences?run=base&run=same")["differences"][0]["job"] is None
        refused = studio.ask("POST", "/studio/api/differences", {"runs": ["base"]})
        assert (refused.status, "between 2 and" in refused.error["message"]) == (400, True)
        seen.close()
