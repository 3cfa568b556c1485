"""Plans: what is chosen for a time, what is promised, and the law and the measures behind the promise."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from gptsmith.base import machine
from gptsmith.base.machine import num_cpus
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.presets import preset, preset_settings
from gptsmith.train.planning import throughput as speed_module
from gptsmith.train.planning.memory import expected_peak_bytes
from gptsmith.train.planning.plan import Corpus, TooShortError, block_parameters, interval, plan_seconds, plan_tokens
from gptsmith.train.planning.scaling_law import (
    bits_by_counts,
    difficulty,
    expected_bits_per_byte,
    recurrence,
    worth_bytes,
)
from gptsmith.train.planning.throughput import Speed, attended_elements, measured_speed, slow_attention_s

BASE = preset_settings("smith")
LARGE = Corpus(num_tokens=10**9, num_bytes=4 * 10**9, difficulty=2.0)


def seconds_per_token(config: GPTConfig, tokens_per_step: int = 1024) -> float:
    return cost(config).training_flops_per_token / 4e11


def test_what_is_given_is_kept_to() -> None:
    assert plan_tokens(10**7, tokens=123_456, params=None).num_tokens == 123_456
    assert plan_tokens(10**5, tokens=None, params=None).num_tokens <= 40 * 10**5
    small, large = (plan_tokens(10**7, None, params).model for params in (10**6, 10**8))
    assert small["embed_dim"] < large["embed_dim"]
    assert plan_seconds(600, LARGE, seconds_per_token, BASE, params=10**7).model["embed_dim"] == 384


def test_text_that_is_read_often_gets_dropout() -> None:
    assert plan_tokens(10**5, tokens=10**6, params=None).model["dropout"] == 0.1
    assert "dropout" not in plan_tokens(10**7, tokens=10**6, params=None).model


def test_more_time_gives_a_larger_model_more_tokens_and_a_lower_loss() -> None:
    plans = [plan_seconds(minutes * 60, LARGE, seconds_per_token, BASE) for minutes in (1, 10, 100, 1000)]
    widths = [plan.model["embed_dim"] for plan in plans]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert all(a.num_tokens < b.num_tokens for a, b in itertools.pairwise(plans))
    for plan, minutes in zip(plans, (1, 10, 100, 1000), strict=True):
        config = GPTConfig.parse({**BASE, **plan.model})
        assert plan.num_tokens * seconds_per_token(config) == pytest.approx(minutes * 60, rel=0.01)
        assert plan.num_steps * plan.tokens_per_step == pytest.approx(plan.num_tokens, rel=0.05)


def test_a_small_text_is_not_read_for_ever() -> None:
    corpus = Corpus(num_tokens=50_000, num_bytes=200_000, difficulty=2.0)
    assert plan_seconds(10**6, corpus, seconds_per_token, BASE).num_tokens == 600 * 1024
    tiny = Corpus(num_tokens=5_000, num_bytes=20_000, difficulty=2.0)
    assert plan_seconds(10**6, tiny, seconds_per_token, BASE).num_tokens == 40 * 5_000


def test_a_text_is_read_so_often_as_it_is_worth() -> None:
    corpus = Corpus(num_tokens=500_000, num_bytes=2_000_000, difficulty=2.0)
    for seconds in (10**4, 10**6):
        plan = plan_seconds(seconds, corpus, seconds_per_token, BASE)
        assert plan.num_tokens <= 3.3 * 500_000
        assert block_parameters((plan.model["embed_dim"], plan.model["num_layers"])) <= 12 * 500_000
        assert "dropout" not in plan.model


def test_a_shape_that_is_given_is_not_changed() -> None:
    plan = plan_seconds(60, LARGE, seconds_per_token, BASE, fixed_shape=True)
    assert plan.model == {}
    assert plan.num_tokens == int(60 / seconds_per_token(GPTConfig.parse(BASE)))


def test_a_time_that_is_too_short_says_what_is_missing() -> None:
    with pytest.raises(TooShortError) as raised:
        plan_seconds(0.01, LARGE, seconds_per_token, BASE)
    assert plan_seconds(0.01 + raised.value.missing_seconds * 1.001, LARGE, seconds_per_token, BASE).num_steps == 40


def test_repeated_text_is_worth_less_and_less() -> None:
    assert worth_bytes(500, 1000) == 500
    values = [worth_bytes(1000 * epochs, 1000) for epochs in (1, 2, 4, 100)]
    assert values[0] == 1000
    assert values == sorted(values)
    assert values[-1] < 1000 * 20
    expected = [expected_bits_per_byte(2.0, 1e6, seen, 1e9) for seen in (1e6, 1e7, 1e8)]
    assert expected == sorted(expected, reverse=True)


def test_the_counts_of_text_whose_entropy_is_known() -> None:
    chance = np.random.default_rng(0)
    coin = chance.choice(np.frombuffer(b"ab", np.uint8), 400_000).tobytes()
    assert bits_by_counts(coin[:300_000], coin[300_000:]) == pytest.approx(1.0, abs=0.01)
    assert bits_by_counts(b"abc" * 100_000, b"abc" * 1000) < 0.01
    noise = chance.integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    assert 8 < bits_by_counts(noise[:200_000], noise[200_000:]) < 9.5


def test_the_counts_are_those_of_the_plain_formula() -> None:
    """Witten and Bell's method C by dictionaries, byte by byte."""
    chance = random.Random(0)
    text = "".join(chance.choice(["the ", "cat ", "sat ", "on ", "a ", "mat. "]) for _ in range(800)).encode()
    training, validation = text[:2500], text[2500:2700]
    nats = []
    for at in range(4, len(validation)):
        probability = 1 / 256
        for length in range(1, 6):
            run, context = validation[at - length + 1 : at + 1], validation[at - length + 1 : at]
            followers = [
                training[place + length - 1]
                for place in range(len(training) - length + 1)
                if training[place : place + length - 1] == context
            ]
            if followers:
                distinct = len(set(followers))
                probability = (followers.count(run[-1]) + distinct * probability) / (len(followers) + distinct)
        nats.append(-math.log2(probability))
    assert bits_by_counts(training, validation) == pytest.approx(sum(nats) / len(nats), rel=1e-9)


def test_words_that_come_again_are_easier() -> None:
    names = [f"name{number}" for number in range(2000)]
    chance = random.Random(0)
    fresh = " ".join(chance.sample(names, 1000)).encode()
    again = " ".join(name for name in chance.sample(names, 500) for _ in range(2)).encode()
    training = " ".join(names).encode()
    assert recurrence(training, fresh) == 0
    assert recurrence(training, again) == pytest.approx(0.5)
    assert recurrence(b"", b"") == 0
    assert difficulty(training, again) < bits_by_counts(training, again)
    assert difficulty(training, fresh) == bits_by_counts(training, fresh)


def test_speed_lies_on_a_line_between_what_was_measured() -> None:
    configs = [GPTConfig.parse({**BASE, "num_layers": layers}) for layers in (2, 4, 8, 16)]
    flops = [float(cost(config).training_flops_per_token) for config in configs]
    speed = Speed(((flops[1], 1e-4, 0.0), (flops[2], 3e-4, 0.0)))
    assert [speed.seconds_per_token(configs[n], 1024) for n in (0, 1, 2)] == pytest.approx([1e-4, 1e-4, 3e-4])
    assert speed.seconds_per_token(configs[3], 1024) == pytest.approx(3e-4 * flops[3] / flops[2])


def test_the_move_of_a_step_is_shared_by_its_tokens() -> None:
    config = GPTConfig.parse(BASE)
    speed = Speed(((1.0, 1e-4, 0.1024), (1e12, 1e-4, 0.1024)))
    assert [speed.seconds_per_token(config, size) for size in (1024, 2048)] == pytest.approx([2e-4, 1.5e-4])
    plan = plan_seconds(10_000, LARGE, speed.seconds_per_token, BASE, fixed_shape=True)
    assert plan.num_tokens / plan.num_steps == pytest.approx(plan.tokens_per_step, rel=0.01)
    assert plan.num_tokens * 1e-4 + plan.num_steps * 0.1024 == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(
    ("num_tokens", "ratio"), [(45_056, 1.141), (68_208, 1.105), (100_352, 1.105), (100_227, 0.973)]
)
def test_a_short_run_may_end_further_above_the_expectation(num_tokens: int, ratio: float) -> None:
    """The farthest of the short runs that were measured: LOG.md has them."""
    low, high = interval(1.0, num_tokens)
    assert low < ratio < high


def test_a_run_as_long_as_those_of_the_scaling_law_ends_within_its_interval() -> None:
    assert interval(1.0, 437_000) == interval(1.0, 10**9) == pytest.approx((0.96, 1.04))


class Machine:
    """A machine whose steps take `seconds` for the smallest shape, and more for larger ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.1
        self.timed: list[int] = []
        """The widths of the models that were timed."""
        monkeypatch.setattr(speed_module, "_step_seconds", self.step_seconds)

    def step_seconds(self, config: GPTConfig, *_: object) -> tuple[float, float]:
        self.timed.append(config.embed_dim)
        slow = 3.0 if config.attention.kind == "additive" else 1.0
        passes_s = self.seconds * slow * config.embed_dim / 128
        return passes_s, passes_s / 10

    def measured(self, cache: Path, dtype: torch.dtype = torch.float32) -> tuple[Speed, list[int]]:
        """The speed, and the widths that were timed for it."""
        self.timed.clear()
        return measured_speed(torch.device("cpu"), dtype, cache), list(self.timed)


ALL_WIDTHS = [128, 192, 256, 384, 512, 768]
"""Of the probed shapes, up to the first whose step takes longer than half a second."""


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    first, timed = machine.measured(tmp_path)
    assert timed == ALL_WIDTHS
    assert machine.measured(tmp_path) == (first, [128])
    assert machine.measured(tmp_path, torch.bfloat16)[1] == ALL_WIDTHS
    for spoilt in ('{"points": "spoilt"}', '{"points": []}', "{}"):
        for record in tmp_path.glob("speed-*.json"):
            record.write_text(spoilt, encoding="utf-8")
        assert machine.measured(tmp_path) == (first, ALL_WIDTHS)


@pytest.mark.parametrize(("times", "is_measured"), [(3, True), (1.3, True), (1.2, False), (0.85, False), (0.3, True)])
def test_a_machine_that_was_busy_or_is_busy_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: float, is_measured: bool
) -> None:
    machine = Machine(monkeypatch)
    before, _ = machine.measured(tmp_path)
    machine.seconds *= times
    after, timed = machine.measured(tmp_path)
    assert (len(timed) > 1) == is_measured
    assert after.points[0][1] == pytest.approx(before.points[0][1] * (times if is_measured else 1))
    assert machine.measured(tmp_path) == (after, [128])


def test_a_slow_kind_of_attention_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path))
    machine = Machine(monkeypatch)
    speed, _ = machine.measured(tmp_path)
    machine.timed.clear()
    arguments = (speed, torch.device("cpu"), torch.float32)
    attention = {kind: preset("smith", attention=kind).attention for kind in ("full", "sliding_window", "additive")}
    assert (
        slow_attention_s(attention["full"], *arguments)
        == slow_attention_s(attention["sliding_window"], *arguments)
        == 0
    )
    assert machine.timed == []
    seconds = slow_attention_s(attention["additive"], *arguments)
    probed = preset("smith", embed_dim=128, num_layers=4, num_heads=2)
    assert seconds * attended_elements(probed) * 2048 == pytest.approx(0.2)
    machine.seconds = 1.0
    assert slow_attention_s(attention["additive"], *arguments) == seconds
    faster = Speed(((7e6, speed.points[0][1] / 4, 0.0),))
    assert slow_attention_s(attention["additive"], faster, *arguments[1:]) == pytest.approx(seconds / 4)
    assert machine.timed == [128, 128]


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({}, 4),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "25000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu.max": "900000 100000"}, 4),
    ],
)
def test_the_share_of_a_container_counts(
    files: dict[str, str], share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: range(4), raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert num_cpus(tmp_path) == share


def test_expected_memory_grows_with_what_needs_it() -> None:
    config = GPTConfig.parse(BASE)
    least = expected_peak_bytes(config, 1024, 0, optimizer_bytes_per_parameter=4, dtype_bytes=2)
    assert least > 24 * cost(config).num_parameters
    assert expected_peak_bytes(config, 2048, 0, optimizer_bytes_per_parameter=4, dtype_bytes=2) > least
    shared = [expected_peak_bytes(config, 1024, 0, 4, 2, num_shards=shards) for shards in (4, 8, 64)]
    assert sorted(shared, reverse=True) == shared
    moving = cost(config).num_parameters * (4 * 4 + 2 * 4)
    assert shared[0] - shared[1] == pytest.approx(moving / 8, rel=1e-6)
    assert expected_peak_bytes(config, 1024, 0, optimizer_bytes_per_parameter=8, dtype_bytes=2) > least
    assert expected_peak_bytes(config, 1024, 0, optimizer_bytes_per_parameter=4, dtype_bytes=4) > least
    assert expected_peak_bytes(config, 1024, 10**9, optimizer_bytes_per_parameter=4, dtype_bytes=2) == least + 10**9
