"""Options of the verbs that train, each the setting that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.layers import Layer, assignments, layered
from gptsmith.base.settings import Settings, setting_paths
from gptsmith.train.request import TRACKERS, FinetuneRequest, PretrainRequest, TrainingRequest
from gptsmith.train.resolve import given_layers
from gptsmith.train.run_settings import FinetuneSettings, RunSettings
from gptsmith.train.settings import TrackSettings
from gptsmith.train.text_request import OPTION_SETTINGS

MADE = [
    (PretrainRequest, RunSettings, {"sources": ["a.txt"]}),
    (FinetuneRequest, FinetuneSettings, {"base": "runs/a", "sources": ["a.jsonl"], "lora": 4}),
]
VALUES: dict[str, Any] = {"device": "cpu", "me": "Ann", "skip_bad": True, "redact": True, "seed": 0}


def options() -> Iterator[Any]:
    for request, settings, least in MADE:
        for name, path in OPTION_SETTINGS.items():
            if name in request.model_fields:
                yield pytest.param(request, settings, least, name, path, id=f"{request.made_by} {name}")


@pytest.mark.parametrize(("request_class", "settings", "least", "name", "path"), [*options()])
def test_an_option_is_the_setting_that_it_stands_for(
    request_class: type[TrainingRequest], settings: type[Settings], least: dict[str, Any], name: str, path: str
) -> None:
    value = VALUES.get(name, 3)
    result = layered(given_layers(request_class.parse({**least, name: value})), settings)
    assert path in dict(setting_paths(settings))
    table: Any = result.values
    for key in path.split("."):
        table = table[key]
    assert table == value
    assert result.origins[path] == f"--{name.replace('_', '-')}"


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_is_reported_to(tracker: str) -> None:
    request = PretrainRequest.parse({"sources": ["a.txt"], "report_to": tracker})
    track = TrackSettings.parse(layered(given_layers(request), RunSettings).values["track"])
    assert getattr(track, tracker)


def test_a_request_without_options_sets_nothing() -> None:
    for request, _, least in MADE:
        assert request.parse(least).option_settings() == {}


def test_set_is_above_an_option() -> None:
    request = PretrainRequest.parse({"sources": ["a"], "batch_size": 2, "settings": ["train.batch_size=3"]})
    assert layered(given_layers(request), RunSettings).values["train"]["batch_size"] == 3


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("lr=1e-3", "no such setting: lr (did you mean train.optimizer.learning_rate?)"),
        ("num_layers=4", "no such setting: num_layers (did you mean model.num_layers?)"),
        ("batch_size=4", "no such setting: batch_size (did you mean train.batch_size?)"),  # and not the request's
        ("model.n_layer=4", "model: no such setting: n_layer (did you mean num_layers?)"),
        ("model.warmup=4", "model: no such setting: warmup (did you mean train.schedule.warmup_steps?)"),
        ("train.lr=4", "train: no such setting: lr (did you mean train.optimizer.learning_rate?)"),
        ("r=4", "no such setting: r (did you mean model.linear.rank of the kind lora?)"),
        ("target_modules=4", "(did you mean model.linear.targets of the kind lora?)"),
        ("train.optimizer.learnig_rate=1", "no such setting: learnig_rate (did you mean learning_rate?)"),
        ("zzz=4", "no such setting: zzz (allowed: checkpoint"),
    ],
)
def test_a_setting_is_found_by_its_last_part_and_by_its_name_elsewhere(assignment: str, line: str) -> None:
    request = Layer("the command", {"request": {"sources": ["a"]}})
    with pytest.raises(ValueError, match="no such setting") as error:
        layered([request, *assignments([assignment])], RunSettings).parse(RunSettings)
    assert line in str(error.value)


def test_every_synonym_leads_to_a_name_of_today() -> None:
    import typer

    from gptsmith.base.synonyms import SYNONYMS, plain
    from gptsmith.cli import VERBS, app

    group: Any = typer.main.get_command(app)
    verbs = [group.get_command(None, verb) for verb in VERBS]
    names = {plain(name) for verb in verbs for parameter in verb.params for name in (*parameter.opts, parameter.name)}
    names |= {path.rpartition(".")[2] for cls in (RunSettings, FinetuneSettings) for path, _ in setting_paths(cls)}
    assert {word for words in SYNONYMS.values() for word in words} <= names | {*VERBS}
    assert all(plain(word) == word for word in SYNONYMS)


@pytest.mark.parametrize("name", ["sources", "validation", "test", "base"])
def test_a_path_that_a_run_could_not_keep_is_refused(name: str) -> None:
    path = b"nails\xff.txt".decode("utf-8", "surrogateescape")
    given = {"base": "base", "sources": ["smiths"], name: path if name == "base" else [path]}
    with pytest.raises(ConfigurationError, match=r"nails\\udcff\.txt is a name in bytes that are not UTF-8"):
        FinetuneRequest.parse(given, "request")
