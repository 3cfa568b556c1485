"""Results on one stream, everything else on the other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gptsmith.base import console
from gptsmith.base.randomness import derived_seed


def test_results_and_notes_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_json({"text": "é🙂", "loss": 1.5})
    console.note(console.styled("saved [bold]{}[/bold]", "it"))
    console.show_figures("A model", {"num_layers": 12_000})
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[0]) == {"text": "é🙂", "loss": 1.5}
    assert "layers  12,000" in out
    assert "12,000" in out
    assert err == "saved it\n"


def test_off_a_terminal_progress_is_plain_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.meter("training", 200) as meter:
        for done in range(1, 26):
            now[0] = float(done)
            meter.update(done, "loss 1.5")
    assert capsys.readouterr().err.splitlines() == ["training: 5% loss 1.5", "training: 10% loss 1.5"]


def test_what_is_hushed_is_not_shown_and_a_bar_that_was_there_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.meter("trials", 2) as outer, console.hushed(), console.meter("training", 10) as inner:
        console.note("not now")
        now[0] = 11.0
        inner.update(5)
        outer.update(1)
    console.note("now")
    assert capsys.readouterr().err.splitlines() == ["trials: 50%", "now"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1234567, "-1,234,567"),
        (0.00012345, "0.0001234"),
        (False, "no"),
        (None, "None"),
        (float("nan"), "nan"),
        ({"count": 12_000, "pruned": 2}, "count 12,000, pruned 2"),
    ],
)
def test_known_figures(value: object, text: str) -> None:
    assert console.readable(value) == text


def test_a_seed_never_changes() -> None:
    """Runs that were started by an older version must go on with the same numbers."""
    assert derived_seed(1, "order", 2) == 0x14FBD1685B043994


NAMES = ("run [final]", "run[/b]", "[red]run[/red]", ":smile: run", "a\\[b]", "{run}", "[link=x]run")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.note(f"saved {name}")
    console.note(f"saved {name}", "dim")
    console.note(console.styled("saved [bold]{}[/bold]", name))
    console.show_figures(name, {"run": name, name: 1})
    with console.meter(name, 2) as meter:
        meter.said = -console.PLAIN_LINE_EVERY_S
        meter.update(1, name)
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"saved {name}"] * 3 + [f"{name}: 50% {name}"]
    assert out.count(name) >= 3


def test_no_message_is_markup_but_what_says_so() -> None:
    """Names of files stand in messages everywhere, so only `styled`, which escapes them, may read markup."""
    package = Path(console.__file__).parents[1]
    readers = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"markup=True|from_markup|rich\.markup|rich\.print", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["base/console.py"]


@pytest.mark.parametrize(
    ("name", "value", "label", "text"),
    [
        ("peak_memory_bytes", 4_200_000_000, "peak memory", "4.2 GB"),
        ("cache_bytes_per_token", 46_080, "KV cache per token", "46.1 kB"),
        ("num_bytes", 0, "size", "0 bytes"),
        ("weight_bytes_before", 5_184_000, "weights before", "5.18 MB"),
        ("seconds", 200.4, "time", "3 min 20 s"),
        ("bits_per_byte", 1.7712, "bits per byte", "1.771"),
        ("general_bits_per_byte", 1.7712, "that text now (bits per byte)", "1.771"),
        ("tokens_per_second", 1234.5, "tokens per second", "1,234"),
        ("training_flops_per_token", 1_656_225_792, "training computation per token", "1.66 GFLOP"),
        ("num_steps", 12_000, "steps", "12,000"),
        ("num_test_examples", 12, "test examples", "12"),
        ("num_general_answers_kept", 20, "answers kept", "20"),
        ("test_accuracy", 0.5756, "test accuracy", "57.6%"),
    ],
)
def test_a_figure_has_its_unit_beside_it(name: str, value: float, label: str, text: str) -> None:
    assert (console.label_of(name), console.readable(value, name)) == (label, text)


def test_no_name_that_a_figure_may_have_is_shown_as_it_stands_in_the_code() -> None:
    """The names are those of all fields of JSON that the package writes, found in its source."""
    package = Path(console.__file__).parents[1]
    files = (path for path in package.rglob("*.py") if path != Path(console.__file__))
    sources = [path.read_text(encoding="utf-8") for path in files]
    names = {name for source in sources for name in re.findall(r'"([a-z][a-z0-9]*(?:_[a-z0-9]+)+)"', source)}
    assert {"validation_loss", "num_general_answers_kept", "bits_per_byte_low"} <= names
    for name in names:
        label = console.label_of(name)
        assert label, name
        assert "_" not in label, name
        assert not re.search(r"\bnum\b", label), name


def test_a_path_is_shown_whole_where_the_window_is_narrow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console.results, "width", 40)
    path = "/models/" + "a-long-name-" * 6 + "end"
    console.show_figures("", {"run": path})
    assert "".join(capsys.readouterr().out.split()) == "run" + path
