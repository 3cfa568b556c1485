"""The report of a run: whole, true, small, and readable by a real browser without a network."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.convert.load import load
from gptsmith.explain.for_report import add_inside, look_inside
from gptsmith.train.report import report
from gptsmith.workflows import pretrain

from ..pages.browser import Visit, open_browser

NASTY = "<b>bold</b> & </script><script>alert(1)</script>"


def write_run(folder: Path, *, num_rows: int = 40, plan: bool = True, ended: bool = True) -> Path:
    """A run folder as training leaves it, without its weights."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(
        'made_by = "pretrain"\n'
        '[request]\nsources = ["my texts/", "b.txt"]\nvalidation = ["v.txt"]\n[train]\nnum_steps = 400\n',
        encoding="utf-8",
    )
    (folder / "data.json").write_text(
        json.dumps(
            {
                "num_files": 1,
                "num_documents": 2,
                "num_bytes": 1_115_394,
                "skipped": {"a.bin": f"binary {NASTY}"},
                "files": {"b.txt": "00ff"},
                "train": {"num_tokens": 1000},
            }
        ),
        encoding="utf-8",
    )
    rows: list[dict[str, Any]] = [
        {"event": "start", "step": 0, "num_parameters": 1_896_128, "environment": {"torch": "2.13.0", "odd": NASTY}}
    ]
    chance = random.Random(1)
    for number in range(1, num_rows + 1):
        step = number * 10
        rows.append(
            {
                "event": "step",
                "step": step,
                "num_tokens": step * 2048,
                "train_loss": 1 + 3 / number + chance.random() / 10,
                "lr_multiplier": 1 - number / num_rows,
                "gradient_norm": chance.random(),
                "tokens_per_second": 20_000 + chance.random(),
                "seconds": step * 0.1,
            }
        )
        if number % 10 == 0:
            loss = 1.2 + 2 / number
            rows.append({"event": "evaluation", "step": step, "validation_loss": loss, "bits_per_byte": loss * 1.4427})
            rows.append({"event": "sample", "step": step, "text": f"sample {step} {NASTY}"})
    rows.append({"event": "skip", "step": 40, "problem": NASTY})
    if ended:
        rows.append({"event": "end", "step": num_rows * 10, "status": "finished"})
        (folder / "result.json").write_text(
            json.dumps(
                {"status": "finished", "device": "cpu", "validation_loss": 1.25, "bits_per_byte": 1.8, "seconds": 250.4}
            )
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if plan:
        predicted = {
            "seconds": 200,
            "peak_memory_bytes": 1.5e9,
            "bits_per_byte": 2.0,
            "bits_per_byte_low": 1.7,
            "bits_per_byte_high": 2.2,
        }
        actual = {"seconds": 250, "peak_memory_bytes": 1.2e9, "bits_per_byte": 1.8}
        (folder / "plan.json").write_text(json.dumps({"predicted": predicted, "actual": actual}))
    return folder


def test_a_report_shows_the_result_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "shakespeare")
    path = report(run)
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    for words in ("shakespeare", "1.2500", "1.8000", "1.9M", "819,200", "4 min 10 s", "finished, cpu", "2.13.0"):
        assert words in text
    assert "1 file, 2 documents, 1.12 MB" in text
    assert f"gptsmith pretrain &#x27;my texts/&#x27; b.txt --validation v.txt --config {run}/run.toml" in text
    assert "num_steps = 400" in text


def test_headline_figures_are_short_and_what_was_forgotten_is_a_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tuned")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    forgotten = {"general_bits_per_byte_before": 1.5, "general_bits_per_byte": 2.7}
    (run / "result.json").write_text(json.dumps({**result, **forgotten}), encoding="utf-8")
    html = report(run).read_text(encoding="utf-8")
    assert "Of what the base knew: general text: 1.50 -&gt; 2.70 bits per byte: much was forgotten." in html
    figures = re.findall("<dd>(.*?)</dd>", html.partition('class="headline"')[2].partition("</dl>")[0])
    assert figures
    assert max(map(len, figures)) < 20


def test_text_of_people_never_becomes_part_of_the_page(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / NASTY.replace("/", "_"))).read_text(encoding="utf-8")
    assert "<b>bold" not in text
    assert "alert(1)</script>" not in text
    assert text.count("</script>") == 2


def test_what_was_found_inside_is_a_section_where_it_was_looked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "What was found inside" not in report(run).read_text(encoding="utf-8")
    claim = {"says": f"Because of {NASTY} it wrote this.", "why": "Tested: it held.", "verdict": "holds"}
    example = {"context": f"The old {NASTY}", "word": " smith", "claims": [claim]}
    found = {"step": 400, "heads": [claim], "depth": {"says": "Half after 2 of 4 blocks."}, "examples": [example]}
    (run / "inside.json").write_text(json.dumps(found), encoding="utf-8")
    html = report(run).read_text(encoding="utf-8")
    inside = html.partition('id="inside"')[2].partition("</section>")[0]
    for words in ("At step 400", "Half after 2 of 4 blocks.", "<strong> smith</strong>", "Tested: it held."):
        assert words in inside
    assert "<b>" not in inside
    for broken in ("[1]", "{", '{"heads": 5, "depth": [], "examples": ["x"]}'):
        (run / "inside.json").write_text(broken, encoding="utf-8")
        assert "it wrote this" not in report(run).read_text(encoding="utf-8")


def test_a_trained_run_is_looked_into_for_a_bounded_time(trained: dict[str, Any], tmp_path: Path) -> None:
    run = shutil.copytree(trained["run"], tmp_path / "run")
    add_inside(run)
    found = json.loads((run / "inside.json").read_text(encoding="utf-8"))
    assert found["step"] == 30
    assert {claim["kind"] for claim in found["heads"]} <= {"head_roles"}
    assert all(0 <= depth <= found["depth"]["num_blocks"] == 2 for depth in found["depth"]["depths"])
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        assert [claim["kind"] for claim in example["claims"]] == ["alternatives", "leave_one_out"]
    assert found["depth"]["says"] in (run / "report.html").read_text(encoding="utf-8")
    ticks = iter((0.0, 11.0, 11.0))
    assert set(look_inside(load(run, device="cpu"), clock=lambda: next(ticks))) == {"step", "heads"}


def test_a_run_that_cannot_be_looked_into_has_been_trained_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: Path) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(pretrain, "add_inside", fails)
    pretrain.look_inside_if_worth_it({"run": "run", "status": "finished", "seconds": 600}, Path("run"))
    assert "does not say what is inside: out of memory" in capsys.readouterr().err
    for figures in ({"status": "finished", "seconds": 10}, {"status": "stopped", "seconds": 600}):
        pretrain.look_inside_if_worth_it({"run": "run", **figures}, Path("run"))
    assert capsys.readouterr().err == ""


def test_a_report_refers_to_nothing_outside_of_it(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^'\")\s]*", text)) == {"http://www.w3.org/2000/svg"}


def test_a_report_of_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = tmp_path / "new"
    run.mkdir()
    (run / "run.toml").write_text("", encoding="utf-8")
    assert "not finished" in report(run).read_text(encoding="utf-8")
    with (run / "metrics.jsonl").open("w") as log:
        log.write('5\n{"event": "step", "step": 10, "train_loss": NaN}\n{"event": "start", "num_parameters": 12}\n{"ev')
    assert report(run).read_text(encoding="utf-8").count("<dd>") == 1


def test_a_report_of_a_hundred_thousand_lines_is_small(tmp_path: Path) -> None:
    run = write_run(tmp_path / "long", num_rows=100_000)
    assert report(run).stat().st_size < 2_000_000


def test_there_is_no_report_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such run"):
        report(tmp_path / "missing")
    with pytest.raises(UserError, match=r"holds no run\.toml"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def test_a_browser_draws_the_report_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    address = report(write_run(tmp_path / "run")).as_uri()
    visit = Visit(browser, address)
    visit.page.wait_for_selector("path.line")
    assert [visit.series(title) for title in ("Loss", "Bits per byte", "Gradient norm", "Throughput")] == [2, 1, 1, 1]
    assert "training" in visit.chart("Loss").locator(".legend").inner_text()
    said = visit.hover("Loss")
    assert re.search(r"step 2\d\d", said)
    assert re.search(r"training\s*1\.\d+", said)
    assert re.search(r"validation\s*1\.\d+", said)
    assert visit.page.locator("line.cross").count() == 5, "all charts show the same step"
    assert "as predicted" in visit.page.locator("#plan").inner_text()
    samples = visit.page.locator("#samples blockquote")
    assert samples.count() == 4
    assert samples.last.inner_text() == f"sample 400 {NASTY}"
    assert NASTY in visit.page.locator("#events").inner_text()
    assert visit.console == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [address]


def test_the_keyboard_moves_through_a_chart_and_a_reader_hears_what_it_shows(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report(write_run(tmp_path / "run")).as_uri())
    chart = visit.chart("Bits per byte")
    chart.locator("svg").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    assert "step 200" in chart.locator("[role=status]").inner_text()
    assert re.search(r"from 2\.0\d+ at 100 to 1\.\d+ at 400", chart.locator("svg").get_attribute("aria-label"))


def test_axes_are_what_a_person_chooses(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report(write_run(tmp_path / "run")).as_uri())

    def written() -> str:
        return str(
            visit.chart("Loss")
            .locator("svg")
            .evaluate("svg => [...svg.querySelectorAll('text')].map(t => t.textContent).join(' ')")
        )

    assert written().endswith("0 100 200 300 400 step")
    visit.page.select_option("select[name=xScale]", "log")
    assert written().endswith("10 20 50 100 200 step")
    visit.page.select_option("select[name=x]", "seconds")
    assert written().endswith("1 2 5 10 20 seconds")
    assert visit.series("Loss") == 2


def test_what_is_not_there_has_no_section(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report(write_run(tmp_path / "run", plan=False, num_rows=0, ended=False)).as_uri())
    assert visit.page.locator("section#plan").is_hidden()
    assert visit.page.locator("section#curves").is_hidden()
    assert visit.page.locator("section#samples").is_hidden()
    assert visit.console == []


def test_dark_and_light_and_a_phone(browser: Any, tmp_path: Path) -> None:
    address = report(write_run(tmp_path / "run")).as_uri()

    def lightness(visit: Visit) -> int:
        return sum(map(int, re.findall(r"\d+", visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))))

    assert lightness(Visit(browser, address)) > 700
    assert lightness(Visit(browser, address, dark=True)) < 100
    phone = Visit(browser, address, width=360)
    phone.page.wait_for_selector("path.line")
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"certificate": "passed"}, "passed."),
        ({"certificate": "not run", "certificate_reason": "no <b> reads it"}, "not run (no &lt;b&gt; reads it)."),
    ],
)
def test_the_certificate_is_shown_of_an_import_and_of_a_run_tuned_from_it(
    tmp_path: Path, figures: dict[str, str], words: str
) -> None:
    base, tuned = write_run(tmp_path / "base"), write_run(tmp_path / "tuned")
    assert "The certificate of" not in report(base).read_text(encoding="utf-8").split("<script")[0]
    (base / "result.json").write_text(json.dumps({"status": "imported", **figures}), encoding="utf-8")
    settings = 'made_by = "finetune"\n[request]\nsources = ["a.jsonl"]\nbase = "base"\n'
    (tuned / "run.toml").write_text(settings, encoding="utf-8")
    assert f"The certificate of this import: {words}" in report(base).read_text(encoding="utf-8")
    assert f"The certificate of the imported base: {words}" in report(tuned).read_text(encoding="utf-8")
    (base / "result.json").unlink()
    (base / "run.toml").unlink()
    base.rename(tmp_path / "elsewhere")
    assert "The certificate of" not in report(tuned).read_text(encoding="utf-8").split("<script")[0]
