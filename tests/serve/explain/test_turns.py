"""Turns at an engine: what they compute, how long others wait, and that they end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from gptsmith.convert.load import load
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.serve.explain.turns import MAX_SLOWDOWN, GivenUpError, Turns, turn_taking


@pytest.fixture(scope="module")
def engine(runs: Path) -> Engine:
    loaded = load(runs / "base", device="cpu")
    return Engine(loaded.model, loaded.tokenizer, thread=EngineThread())


def test_a_model_that_takes_turns_computes_the_same_on_the_engines_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, threads, taken = Turns(engine, lambda: False), set(), list[object]()
    monkeypatch.setattr(turns, "take", lambda work: taken.append(work) or Turns.take(turns, work))
    model = turn_taking(engine.model, turns)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        wanted = engine.model(ids)
        model.blocks[0].attention.register_forward_hook(lambda *_: threads.add(threading.current_thread().name))
        assert torch.equal(model(ids), wanted)
    assert threads == {"engine"}
    assert len(taken) == len(model.blocks) + 1
    assert type(engine.model.blocks[0]).__name__ == "Block"


def test_beside_texts_it_rests_so_that_they_are_hardly_slower(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    turns = Turns(engine, lambda: True, clock=lambda: now[0])
    rested: list[float] = []

    def wait(seconds: float) -> bool:
        rested.append(seconds)
        now[0] += seconds
        return False

    monkeypatch.setattr(turns._given_up, "wait", wait)

    def work() -> None:
        now[0] += 0.3

    turns.take(work)
    assert sum(rested) == pytest.approx(0.3 / (MAX_SLOWDOWN - 1))
    assert (0.3 + sum(rested)) / sum(rested) <= 1.3
    rested.clear()
    now[0] += 0.1  # what the thread does itself counts too
    turns.take(work)
    assert sum(rested) == pytest.approx(0.4 / (MAX_SLOWDOWN - 1))
    rested.clear()
    turns._is_busy = lambda: False
    turns.take(work)
    assert rested == []


def test_who_gives_up_ends_it_also_where_the_engine_is_gone(engine: Engine) -> None:
    turns = Turns(engine, lambda: True)
    turns.give_up()
    with pytest.raises(GivenUpError):
        turns.take(lambda: 1)
    turns, begun = Turns(engine, lambda: False), threading.Event()
    closed = Engine(engine.model, engine.tokenizer, thread=EngineThread())
    turns._engine = closed
    closed.close()
    threading.Timer(0.1, turns.give_up).start()
    with pytest.raises(GivenUpError):
        turns.take(begun.set)
    assert not begun.is_set()
