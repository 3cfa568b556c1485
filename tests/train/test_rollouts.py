"""What is logged of rollouts."""

from __future__ import annotations

from collections.abc import Iterable

from gptsmith.data.example_splits import ExampleSplits
from gptsmith.run.distributed import Processes
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.objectives.grpo import GrpoSettings
from tests.train.contracts import TALKS, tiny, tiny_encoder


class Two(Processes):
    """The first of two processes, of which the other has seen groups that all taught something."""

    def all_reduce_sum(self, values: Iterable[float]) -> list[float]:
        return [own + other for own, other in zip(values, [6, 0, 12, 1], strict=True)]


def test_shares_of_groups_are_those_of_all_processes_and_start_anew_each_time() -> None:
    objective = GrpoSettings(max_tokens=4, group_size=2)
    inputs = DatasetInputs(tiny(), tiny_encoder(), ExampleSplits(TALKS, [], []), None, seed=0, reward=lambda *_: 1.0)
    dataset = objective.dataset(inputs)
    dataset.groups(inputs.model, [0, 1])  # all rewards are the same: nothing is learnt
    assert dataset.step_figures(Two(0, 2)) == {"idle_group_fraction": 2 / 8, "unrewarded_fraction": 1 / 16}
    assert dataset.step_figures() == {}
    dataset.groups(inputs.model, [2])
    assert dataset.step_figures() == {"idle_group_fraction": 1.0, "unrewarded_fraction": 0.0}
