"""Advice before a training starts, by cases whose answer is known; and a guess beside the plan that it guesses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from gptsmith.serve.static import FOLDER
from gptsmith.serve.studio.train import advice, estimate
from gptsmith.serve.studio.train.advice import Advice, Situation, advise
from gptsmith.serve.studio.train.estimate import Amount
from gptsmith.serve.studio.train.found_models import FoundModel
from gptsmith.train.planning.outlook import OUTLOOKS
from gptsmith.train.planning.plan import Corpus, expectation, plan_seconds
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.request import FinetuneRequest, PretrainRequest

SPEED = Speed(((3e6, 2e-5, 0.0), (3e7, 1.5e-4, 0.0), (3e8, 1.2e-3, 0.0)))
SMOL = FoundModel(
    "models/smol", "SmolLM2-135M-Instruct", "folder", kind="chat", licence="apache-2.0", num_parameters=134_515_008,
    tuning_bytes={"all_weights": 6_800_000_000, "lora": 2_300_000_000, "lora_with_checkpointing": 1_700_000_000},
)  # fmt: skip
TINY = FoundModel("runs/mine", "mine", "runs", kind="base", num_parameters=900_000, tuning_bytes={"all_weights": 10})
LARGE = FoundModel(
    "big", "big", "huggingface", kind="chat", num_parameters=70_000_000_000, tuning_bytes={"lora": 10**12}
)
BROKEN = FoundModel("odd", "odd", "folder", problem="no family of that name")
GB = 1_000_000_000


def situation(amount: Amount, minutes: float, *, are_examples: bool = False, **others: Any) -> Situation:
    """A machine of 16 GB that was measured, and on which models were found; a new model by default."""
    request = PretrainRequest(sources=["text"], minutes=minutes)
    figures = estimate.new_model(request, amount, SPEED, None) or {}
    given = {"base": None, "models": [TINY, BROKEN, LARGE, SMOL], "figures": figures, "is_exact": False}
    return Situation(amount, are_examples, minutes, **{**given, "free_bytes": 16 * GB, "speed": SPEED, **others})


def codes(now: Situation) -> list[str]:
    return [one.code for one in advise(now)]


def test_a_kilobyte_trains_nothing() -> None:
    found = advise(situation(Amount(1000), 10))
    assert (found[0].code, found[0].tone, found[0].values) == ("too_little", "stop", {"size": "1 kB"})
    assert not any(one.code.startswith("outlook") for one in found)


def test_two_megabytes_give_phrases_and_twenty_give_sentences_and_neither_gives_answers() -> None:
    for num_bytes, outlook in ((2_000_000, "outlook0"), (20_000_000, "outlook1")):
        found = advise(situation(Amount(num_bytes), 10))
        assert [one.code for one in found][:2] == ["from_for_answers", outlook]
        assert found[0].base == SMOL.id
        assert all(one.is_guess for one in found)


def test_two_hundred_chats_begin_with_the_model_that_knows_a_language() -> None:
    amount = Amount(42_000, 200)
    first = advise(situation(amount, 10, are_examples=True))[0]
    assert first == Advice(
        "from_for_examples", "warning", {"model": SMOL.name, "count": 200}, is_guess=True, base=SMOL.id
    )
    alone = advise(situation(amount, 10, are_examples=True, models=[TINY, BROKEN]))[0]
    assert (alone.code, alone.base) == ("get_for_examples", None)
    tuned = situation(amount, 10, are_examples=True, base=SMOL, figures={"seconds": 240.0, "epochs": 3.0})
    assert codes(tuned) == ["tuned", "time_left"]


def test_ten_hours_of_little_text_are_wasted() -> None:
    found = advise(situation(Amount(2_000_000), 600))
    (wasted,) = [one for one in found if one.code == "time_left"]
    assert wasted.values["minutes"] == 600
    assert wasted.values["useful"] < 60


def test_a_minute_of_much_text_is_short() -> None:
    (short,) = [one for one in advise(situation(Amount(200_000_000), 2)) if one.code == "time_short"]
    assert short.values["percent"] < 10


@pytest.mark.parametrize(
    ("base", "free", "code"),
    [(None, GB // 2, "memory_new"), (SMOL, 4 * GB, "memory_lora"), (SMOL, GB, "memory_tuning"), (SMOL, 16 * GB, None)],
)
def test_memory_that_is_missing_is_said_with_what_to_change(base: Any, free: int, code: str | None) -> None:
    needed = 5 * GB if base is None else SMOL.tuning_bytes["all_weights"]
    found = advise(situation(Amount(10**6, 500), 10, base=base, free_bytes=free, figures={"peak_memory_bytes": needed}))
    stops = [one for one in found if one.tone == "stop"]
    assert [one.code for one in stops] == ([] if code is None else [code])


def test_a_model_that_is_too_small_to_answer_and_few_examples_are_said() -> None:
    assert codes(situation(Amount(500, 10), 5, are_examples=True, base=TINY, figures={})) == [
        "few_examples", "small_base", "tuned",
    ]  # fmt: skip
    assert codes(situation(Amount(500), 5, base=SMOL, figures={})) == ["tuned_on_text"]


def test_a_model_for_which_the_time_is_too_short_is_not_advised() -> None:
    quick = FoundModel("quick", "quick", "folder", kind="chat", num_parameters=60_000_000)
    slow = FoundModel("slow", "slow", "folder", kind="chat", num_parameters=7_000_000_000)
    for models in ([quick, slow], [slow, quick]):
        now = situation(Amount(400_000, 2000), 10, are_examples=True, models=models)
        assert advice.suitable_model(now) == quick


def test_a_model_is_advised_before_another_that_was_tuned_from_it() -> None:
    tuned = replace(SMOL, id="runs/tuned", name="tuned", place="runs")
    (advice, *_) = advise(situation(Amount(60_000, 200), 10, are_examples=True, models=[tuned, SMOL]))
    assert advice.base == SMOL.id


def test_each_piece_of_advice_has_words_and_outlooks_are_those_of_the_command_line() -> None:
    words = (FOLDER / "studio" / "words_en.js").read_text(encoding="utf-8")
    for code in get_args(advice.Code):
        assert f'"train.advice_{code}": ' in words
    for number, one in enumerate(OUTLOOKS):
        assert f'"train.advice_outlook{number}": "It {one.sentence}.",' in words


def test_a_guess_after_a_plan_is_the_plan_for_another_time() -> None:
    """From the figures of a plan of 10 minutes, that of 30 is guessed to within a few per cent."""
    corpus = Corpus(3_000_000, 9_000_000, 2.4)
    base = {"vocab_size": 1984, "context_length": 256}
    figures = {}
    for minutes in (10, 30):
        plan = plan_seconds(minutes * 60, corpus, SPEED.seconds_per_token, base)
        blocks = 11 * plan.model["embed_dim"] ** 2 * plan.model["num_layers"]
        figures[minutes] = {
            "num_tokens": plan.num_tokens, "epochs": plan.num_tokens / corpus.num_tokens, "vocab_size": 1984,
            "embed_dim": plan.model["embed_dim"], "num_parameters": blocks + 2 * 1984 * plan.model["embed_dim"],
            "bits_per_byte": expectation(plan.num_tokens, blocks, corpus),
        }  # fmt: skip
    request = PretrainRequest(sources=["text"], minutes=30)
    guess = estimate.new_model(request, Amount(10_000_000), SPEED, figures[10])
    assert guess is not None
    for name in ("num_tokens", "epochs", "bits_per_byte"):
        assert guess[name] == pytest.approx(figures[30][name], rel=0.05), name
    assert guess["bits_per_byte_low"] < guess["bits_per_byte"] < guess["bits_per_byte_high"]


def test_a_guess_of_a_fine_tuning_ends_with_its_epochs() -> None:
    request = FinetuneRequest(base="b", sources=["x"], minutes=60, lora=8)
    guess = estimate.tuning(request, Amount(42_000, 200), SMOL.num_parameters, SMOL.tuning_bytes, SPEED, None)
    assert guess["epochs"] == pytest.approx(estimate.USUAL_EPOCHS)
    assert guess["seconds"] < 3600
    assert guess["peak_memory_bytes"] == SMOL.tuning_bytes["lora"]
    earlier = {"num_tokens": 35_000, "epochs": 3.0, "tokens_per_second": 290.0, "peak_memory_bytes": 7}
    again = estimate.tuning(request, Amount(42_000, 200), SMOL.num_parameters, SMOL.tuning_bytes, None, earlier)
    assert (again["tokens_per_second"], again["peak_memory_bytes"]) == (290.0, 7)


def test_nothing_is_guessed_without_a_speed_or_of_another_shape() -> None:
    for others in ({"preset": "gpt2"}, {"settings": ["model.num_layers=2"]}):
        request = PretrainRequest(sources=["text"], minutes=10, **others)
        assert estimate.new_model(request, Amount(10**6), SPEED, None) is None
    assert estimate.new_model(PretrainRequest(sources=["text"], minutes=10), Amount(10**6), None, None) is None
