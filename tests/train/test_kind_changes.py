"""Another kind of a group: what both kinds share is kept, whatever else changes is said, and defaults follow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from gptsmith.base.kinds import Kinds
from gptsmith.base.layers import Layer, assignments, layered
from gptsmith.base.settings import KindChange, Settings, merged
from gptsmith.model.presets import preset
from gptsmith.train.run_settings import RunSettings


def groups(settings: type[Settings], prefix: str = "") -> Iterator[tuple[str, Kinds[Any]]]:
    """The path and the kinds of every group of kinds in a class of settings."""
    for name, field in settings.model_fields.items():
        kinds = next((one for one in field.metadata if isinstance(one, Kinds)), None)
        if kinds is not None:
            yield prefix + name, kinds
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from groups(field.annotation, f"{prefix}{name}.")


PAIRS = [
    pytest.param(path, kinds, *pair, id=f"{path}-{'-'.join(pair)}")
    for path, kinds in groups(RunSettings)
    for pair in itertools.permutations(kinds.names(), 2)
]


def nested(path: str, table: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        table = {key: table}
    return table


def at(table: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        table = table[key]
    return table


def other_than(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    return value / 2 if isinstance(value, float) else value + 1 if isinstance(value, int) else value


def defaults_of(settings: type[Settings]) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in settings.model_fields.items()
        if name != "kind"
    }


def test_every_group_of_kinds_is_looked_at() -> None:
    assert {path for path, _ in groups(RunSettings)} >= {
        "model.attention", "model.position", "model.feedforward", "model.norm", "model.linear", "train.optimizer",
        "train.objective", "tokenizer",
    }  # fmt: skip


@pytest.mark.parametrize("is_set", [False, True])
@pytest.mark.parametrize(("path", "kinds", "before", "after"), PAIRS)
def test_what_is_not_kept_is_said(path: str, kinds: Kinds[Any], before: str, after: str, is_set: bool) -> None:
    old_defaults, new_defaults = defaults_of(kinds.settings(before)), defaults_of(kinds.settings(after))
    old = {name: other_than(value) for name, value in old_defaults.items() if value is not None} if is_set else {}
    changes: list[KindChange] = []
    table = merged(nested(path, {"kind": before, **old}), nested(path, {"kind": after}), RunSettings, changes)
    result = at(table, path)
    assert result.pop("kind") == after
    assert result.keys() <= new_defaults.keys()
    said = {change.path.removeprefix(f"{path}."): change for change in changes}
    for name in {*old, *(old_defaults.keys() & new_defaults.keys())}:
        had = old.get(name, old_defaults[name])
        has = result.get(name, new_defaults.get(name))
        assert has == had or (said[name].before, said[name].after) == (had, has), name
    same = {name for name in old_defaults.keys() & new_defaults.keys() if old_defaults[name] == new_defaults[name]}
    assert {name for name in same & old.keys() if result.get(name) != old[name]} <= said.keys()


def test_heads_and_norms_of_attention_survive_its_kind() -> None:
    smith, additive = preset("smith"), preset("smith", attention="additive")
    assert (additive.num_kv_heads, additive.attention.qk_norm) == (smith.num_kv_heads, True)
    assert additive.attention.kind == "additive"


def test_a_choice_that_the_other_kind_has_too_survives() -> None:
    feedforward = preset("smith", feedforward={"kind": "gated", "activation": "geglu"}).feedforward
    assert feedforward.plain()["activation"] == "geglu"
    low = Layer("preset", {"model": {"feedforward": {"kind": "gated", "activation": "geglu"}}})
    mixed = layered([low, *assignments(["model.feedforward=experts"])], RunSettings)
    assert mixed.values["model"]["feedforward"] == {"kind": "experts", "activation": "geglu"}


def test_a_change_that_a_higher_layer_sets_is_not_said() -> None:
    low = Layer("preset", {"model": {"norm": {"kind": "rmsnorm", "epsilon": 1e-6}}})
    alone = layered([low, *assignments(["model.norm=layernorm"])], RunSettings)
    assert [str(change) for change in alone.changes] == [
        "model.norm.epsilon: 1e-06 -> 1e-05 (the default of layernorm)"
    ]
    assert alone.values["model"]["norm"] == {"kind": "layernorm"}
    both = layered([low, *assignments(["model.norm=layernorm", "model.norm.epsilon=1e-4"])], RunSettings)
    assert both.changes == []
    assert layered([low], RunSettings).changes == []


def test_a_learning_rate_is_never_carried_to_another_optimizer() -> None:
    low = Layer("file", {"train": {"optimizer": {"kind": "muon", "learning_rate": 0.03, "momentum": 0.9}}})
    table = layered([low, *assignments(["train.optimizer=adamw"])], RunSettings)
    assert table.values["train"]["optimizer"] == {"kind": "adamw"}
    assert "train.optimizer.learning_rate: 0.03 -> 0.001 (the default of adamw)" in map(str, table.changes)
    assert "train.optimizer.momentum: 0.9 -> nothing (adamw has no such setting)" in map(str, table.changes)


def test_settings_named_before_their_kind_are_kept() -> None:
    low = Layer("preset", {"model": {"attention": {"kind": "full", "num_kv_heads": 2}}})
    given = assignments(["model.attention.window_size=64", "model.attention.kind=sliding_window"])
    table = layered([low, *given], RunSettings)
    assert table.values["model"]["attention"] == {"kind": "sliding_window", "num_kv_heads": 2, "window_size": 64}
    assert table.changes == []
