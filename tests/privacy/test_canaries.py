"""The figures of canaries: known answers from made-up sights, and the words for a person."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptsmith.data.care.canaries import Canary, Place, made_canaries, write_canaries
from gptsmith.privacy.bound import epsilon_lower_bound
from gptsmith.privacy.canaries import NUM_REFERENCES, Sights, bound_figures, canary_figures
from gptsmith.privacy.canary_wording import canary_lines
from gptsmith.privacy.membership import membership
from gptsmith.privacy.sentences import SeenSentence
from gptsmith.run.folder import Run
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.explain.conftest import random_model


def seen(score: float) -> SeenSentence:
    return SeenSentence(np.array([score]), np.array([score]), np.array([False]), num_name_tokens=0, num_bytes=1)


def canary(number: int, coin: int, document: int) -> Canary:
    (made,) = made_canaries(1, seed=number)
    place = Place(file="a.txt", document=document, start=0, stop=1)
    return made.model_copy(update={"number": number, "coin": coin, "places": [place]})


def sights(scores: list[tuple[float, float]], coins: list[int], documents: list[int]) -> Sights:
    """Canaries whose planted and unseen twins have those scores."""
    canaries = [canary(number, *each) for number, each in enumerate(zip(coins, documents, strict=True))]
    return Sights(canaries, [seen(planted) for planted, _ in scores], [seen(unseen) for _, unseen in scores])


def test_the_bound_is_that_of_the_twins_that_look_more_familiar() -> None:
    scores = [(2.0, 1.0)] * 39 + [(1.0, 2.0)]
    found = bound_figures(sights(scores, [0, 1] * 20, list(range(40))), None)
    assert (found["num_coins"], found["num_right"]) == (40, 39)
    assert found["epsilon_lower"] == epsilon_lower_bound(39, 40, 40, delta=1e-5, replaces=True)
    assert found["epsilon_lower"] == pytest.approx(2.06 / 2, abs=0.01)
    assert found["epsilon_most"] == pytest.approx(2.55 / 2, abs=0.01)
    assert found["epsilon_claimed"] is None


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_of_a_tuned_run_what_twins_are_to_its_base_is_taken_off(gain: float) -> None:
    """Names are hard or easy by 10, and what was planted is easier than it was by `gain`."""
    generator = np.random.default_rng(2)
    before = [tuple(pair) for pair in generator.normal(0, 10, (60, 2)).tolist()]
    gains = generator.normal(gain, 0.1, 60).tolist()
    now = [(planted + more, unseen) for (planted, unseen), more in zip(before, gains, strict=True)]
    numbers, coins = list(range(60)), [0, 1] * 30
    tuned = replace(sights(now, coins, numbers), before=sights(before, coins, numbers))
    scores = tuned.scores()
    assert next(iter(scores)) == "loss_less_base"
    less_base, loss = (membership(*scores[name], seed=1) for name in ("loss_less_base", "loss"))
    low, high = less_base.interval
    assert (less_base.auc == 1) if gain else (low <= 0.5 <= high)
    assert loss.auc == pytest.approx(0.5, abs=0.15)
    found = bound_figures(tuned, None)
    assert (found["num_right"] == 60) if gain else (found["epsilon_lower"] == 0)


def test_twins_that_look_the_same_are_guessed_without_the_coin() -> None:
    coins = [0] * 12 + [1] * 28
    found = bound_figures(sights([(1.0, 1.0)] * 40, coins, list(range(40))), None)
    assert found["num_right"] == 12
    assert found["epsilon_lower"] == 0


def test_a_document_with_two_coins_has_none_that_counts() -> None:
    found = bound_figures(sights([(2.0, 1.0)] * 6, [0] * 6, [0, 1, 1, 2, 3, 3]), None)
    assert found["num_coins"] == 2
    found = bound_figures(sights([(2.0, 1.0)] * 4, [0] * 4, [7] * 4), None)
    assert (found["num_coins"], found["epsilon_lower"], found["epsilon_most"]) == (0, None, None)


def test_a_claim_is_tested_with_its_own_delta() -> None:
    given = sights([(2.0, 1.0)] * 40, [0, 1] * 20, list(range(40)))
    found = bound_figures(given, {"epsilon": 0.5, "delta": 1e-3})
    assert (found["epsilon_claimed"], found["delta"]) == (0.5, 1e-3)
    assert found["epsilon_lower"] < bound_figures(given, None)["epsilon_lower"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Those of a model that was never trained."""
    folder = tmp_path_factory.mktemp("run")
    canaries = [
        each.model_copy(update={"places": [Place(file="a.txt", document=each.number, start=0, stop=1)]})
        for each in made_canaries(12, seed=1)
    ]
    write_canaries(folder, canaries)
    tokenizer = BytesTokenizerSettings().train(list, 0)
    model = random_model(tokenizer.vocab_size, context_length=128).float()
    return canary_figures(_Untrained(folder), model, tokenizer)  # type: ignore[arg-type]


class _Untrained(Run):
    """A run of which there is nothing but its canaries."""

    def training(self) -> None:
        return None

    def template(self) -> None:
        return None


def test_an_untrained_model_shows_nothing(figures: dict[str, Any]) -> None:
    json.dumps(figures)
    assert figures["canaries"]["num"] == 12
    assert [(each["copies"], each["num"]) for each in figures["canaries"]["groups"]] == [(1, 6), (4, 3), (16, 3)]
    for group in figures["canaries"]["groups"]:
        assert group["by_heart"] == group["by_heart_unseen"] == 0
        low, high = group["interval"]
        assert low <= 0.5 <= high
        assert group["tries"] == sorted(group["tries"])
        assert (
            0 < group["exposure"] < figures["canaries"]["most_exposure"] == pytest.approx(np.log2(NUM_REFERENCES + 1))
        )
    assert figures["epsilon_lower"] == 0 < figures["epsilon_most"]
    assert figures["auc"] == figures["memberships"]["loss"]["auc"]
    # what the tokenizer alone tells: bytes tell nothing
    low, high = figures["memberships"]["tokenizer"]["interval"]
    assert low <= 0.5 <= high


def test_the_words_say_chance_the_bound_and_the_most(figures: dict[str, Any]) -> None:
    first, *groups, bound = canary_lines(figures)
    assert first.startswith("12 canaries in 12 places. Chance gives a code 1.44 bits")
    assert [line.split(":")[0] for line in groups] == ["Planted once", "Planted 4 times", "Planted 16 times"]
    assert "epsilon is at least 0.00 (delta 1e-05; with so few coins no more than" in bound
    assert "the run claims 8, which agrees with it" in canary_lines({**figures, "epsilon_claimed": 8.0})[-1]
    leaking = {**figures, "epsilon_claimed": 0.5, "epsilon_lower": 0.9}
    assert "which contradicts it" in canary_lines(leaking)[-1]
    nothing = {**figures, "epsilon_lower": None, "epsilon_most": None}
    assert canary_lines(nothing)[-1].startswith("No bound on epsilon")
    told = {"auc": 0.9, "interval": [0.8, 1.0], "true_positives_at_1_percent": 0.5}
    by_tokenizer = {**figures, "memberships": {**figures["memberships"], "tokenizer": told}}
    assert any(line.startswith("The tokenizer alone") for line in canary_lines(by_tokenizer))


def test_a_run_without_canaries_has_no_figures(tmp_path: Path) -> None:
    assert canary_figures(_Untrained(tmp_path), None, None) == {}  # type: ignore[arg-type]
    assert canary_lines({}) == []
