"""Settings in layers: the higher wins, and each value knows where it came from."""

from __future__ import annotations

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.layers import Layer, assignments, layered
from gptsmith.base.settings import Settings


class Inner(Settings):
    size: int = 1
    name: str = "a"


class Outer(Settings):
    inner: Inner = Inner()
    count: int = 1


def test_a_higher_layer_wins_and_is_the_origin() -> None:
    table = layered(
        [
            Layer("the preset", {"inner": {"size": 1, "name": "a"}}),
            Layer("file.toml", {"inner": {"size": 2}, "count": 2}),
            *assignments(["inner.size=3"]),
        ]
    )
    assert table.values == {"inner": {"size": 3, "name": "a"}, "count": 2}
    assert table.origins == {"inner.size": "--set", "inner.name": "the preset", "count": "file.toml"}
    assert table.parse(Outer) == Outer(inner=Inner(size=3), count=2)


def test_a_group_of_another_kind_leaves_nothing_of_the_one_below() -> None:
    table = layered([Layer("low", {"group": {"kind": "a", "x": 1}}), Layer("high", {"group": "b"})])
    assert table.values == {"group": {"kind": "b"}}
    assert table.origins == {"group.kind": "high"}


def test_the_settings_of_a_group_stay_if_its_kind_is_named_again() -> None:
    table = layered([Layer("preset", {"group": {"kind": "a"}}), *assignments(["group.x=1", "group.kind=a"])])
    assert table.values == {"group": {"kind": "a", "x": 1}}


def test_an_error_names_the_value_and_where_it_came_from() -> None:
    table = layered([Layer("file.toml", {"count": 2}), *assignments(["inner.size=many"])])
    with pytest.raises(UserError, match=r"^inner\.size: .*given: 'many', from --set\)$"):
        table.parse(Outer)
