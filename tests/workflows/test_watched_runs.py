"""The rows of the table of runs."""

from __future__ import annotations

import json
from pathlib import Path

from gptsmith.workflows.watched_runs import MAX_SETTINGS, differing_settings, heading, listing, short_names


def run_of(folder: Path, settings: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(settings, encoding="utf-8")
    return folder


def test_settings_that_differ_come_in_their_order_those_of_most_runs_first() -> None:
    tables = [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": True, "c": 2}, {"a": 1, "c": 2, "d": 5}]
    assert differing_settings(tables) == ["c", "b", "d"]
    assert differing_settings([]) == differing_settings(tables[:1]) == []


def test_a_name_is_as_short_as_is_clear() -> None:
    paths = ["model.num_layers", "train.optimizer.beta", "train.other.beta", "model.norm.kind", "beta"]
    assert short_names(paths) == ["num_layers", "optimizer.beta", "other.beta", "norm.kind", "beta"]


def test_a_heading_is_words_with_the_unit_that_its_cells_lack() -> None:
    names = ["num_layers", "embed_dim", "norm.kind", "optimizer.num_groups", "validation_max_bytes", "budget_seconds"]
    words = ["layers", "width", "norm kind", "optimizer groups", "validation max bytes", "budget seconds"]
    assert [heading(name) for name in names] == words


def test_a_run_that_cannot_be_read_is_a_row_nevertheless(tmp_path: Path) -> None:
    runs = {
        "good": run_of(tmp_path / "good", "[model]\nnum_layers = 2\n"),
        "bad": run_of(tmp_path / "bad", "not toml"),
        "odd": run_of(tmp_path / "odd", '[request]\nbase = "a\\u0000b"\n[model]\nnum_layers = "many"\n'),
        "gone": tmp_path / "gone",
    }
    made = json.loads(json.dumps(listing(runs)))
    assert made["settings"] == [["model.num_layers", "layers"]]
    assert [row["settings"] for row in made["runs"]] == [[2], [None], ["many"], [None]]
    assert not any(row["is_listed"] or row["has_report"] for row in made["runs"])


def test_a_table_is_not_wider_than_a_person_can_read(tmp_path: Path) -> None:
    long = "".join(f"a{number} = '{{}}'\n" for number in range(20))
    runs = {name: run_of(tmp_path / name, "[model]\n" + long.replace("{}", name * 200)) for name in "xy"}
    made = listing(runs)
    assert (len(made["settings"]), made["num_settings_left_out"]) == (MAX_SETTINGS, 20 - MAX_SETTINGS)
    assert all(len(value) <= 60 for row in made["runs"] for value in row["settings"])


def test_a_run_names_the_one_it_was_made_from_by_its_name_here(tmp_path: Path) -> None:
    base = run_of(tmp_path / "base", "")
    tuned = run_of(tmp_path / "tuned", f"[request]\nbase = '{base}'\n")
    other = run_of(tmp_path / "other", "[request]\nbase = 'models/SmolLM2-135M'\n")
    rows = listing({"b": base, "t": tuned, "o": other})["runs"]
    assert [(row["made_from"], row["is_listed"]) for row in rows] == [
        (None, False),
        ("b", True),
        ("SmolLM2-135M", False),
    ]
