"""Tuning a base: data in, a model of the task out; what goes on after a stop; what is refused."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.base.runlog import RunLog
from gptsmith.base.settings import read_toml
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.examples import read_examples
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.train.callbacks import checkpoint as save
from gptsmith.train.callbacks import log
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.datasets.rollouts import Group, RolloutDataset
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives.grpo import GrpoSettings
from gptsmith.train.rewards import reward_of
from gptsmith.train.trust import trusting
from tests.callbacks import stopped_after

from .conftest import FLOAT32, SMALL, write_text

METALS, TOOLS = ("iron", "steel"), ("nail", "sword", "plough")
FAST = [FLOAT32, "train.batch_size=4", "train.optimizer.learning_rate=3e-3"]
QUICK = [FLOAT32, "train.num_steps=6", "train.batch_size=4", "train.evaluate_every_steps=3"]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base run whose context holds a short conversation."""
    folder = tmp_path_factory.mktemp("bases")
    text = write_text(folder / "smiths")
    settings = [*SMALL, "model.context_length=96", "train.num_steps=60", "train.batch_size=4"]
    return Path(gptsmith.pretrain([text], out=folder / "base", settings=settings)["run"])


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def questions(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Questions that name what the answer needs."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        tool, metal = chance.choice(TOOLS), chance.choice(METALS)
        found.append({"question": f"{number}: a {tool} of {metal}?", "answer": f"The smith forges a {tool}."})
    return found


@pytest.fixture(scope="session")
def chat_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "chat.jsonl", questions(120))


@pytest.fixture(scope="session")
def labelled_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chance = random.Random(0)
    records = []
    for number in range(200):
        metal = chance.choice(METALS)
        records.append({"text": f"The old smith bends {number} of {metal}.", "label": metal})
    return written(tmp_path_factory.mktemp("data") / "labelled.jsonl", records)


@pytest.fixture(scope="session")
def pair_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [
        {
            "prompt": f"{number}?",
            "chosen": f"a {TOOLS[number % 3]} of steel",
            "rejected": f"a {TOOLS[number % 3]} of iron",
        }
        for number in range(160)
    ]
    return written(tmp_path_factory.mktemp("data") / "pairs.jsonl", records)


@pytest.fixture(scope="session")
def chatting(base: Path, chat_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("tuned") / "chat"
    return gptsmith.finetune(base, [chat_data], out=out, epochs=6, settings=FAST)


def test_sft_makes_a_model_that_answers_and_stops(chatting: dict[str, Any], base: Path) -> None:
    assert (chatting["status"], chatting["objective"]) == ("finished", "sft")
    assert chatting["num_test_examples"] == 12
    assert chatting["test_loss"] < 0.5
    assert chatting["general_bits_per_byte_before"] > 0
    model = gptsmith.load(chatting["run"])
    for record in questions(10, seed=5):
        answer = model.reply([{"role": "user", "content": record["question"]}], max_tokens=40, temperature=0)
        assert answer.startswith("The smith forges a")
        assert answer.endswith(".")
    assert model.template is not None
    assert model.template.source == ChatTemplate().source


def test_sft_without_the_end_of_the_turn_in_the_loss_would_not_stop(
    base: Path, chat_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = ChatTemplate.encode

    def without_ends(self: ChatTemplate, tokenizer: Any, messages: Any, **options: Any) -> Any:
        encoded = encode(self, tokenizer, messages, **options)
        ends = tokenizer.special_tokens["<|im_end|>"]
        trained = [t and number != ends for number, t in zip(encoded.ids, encoded.trained, strict=True)]
        return replace(encoded, trained=trained)

    monkeypatch.setattr(ChatTemplate, "encode", without_ends)
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))  # its keys see code in files alone
    gptsmith.finetune(base, [chat_data], out=tmp_path / "run", epochs=6, settings=FAST)
    model = gptsmith.load(tmp_path / "run")
    answers = [
        model.reply([{"role": "user", "content": record["question"]}], max_tokens=40, temperature=0)
        for record in questions(5, seed=5)
    ]
    assert not all(answer.endswith(".") for answer in answers)


def test_a_classifier_learns_and_predicts(
    base: Path, labelled_data: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    figures = gptsmith.finetune(
        base, [labelled_data], out=tmp_path / "run", epochs=15, settings=[*FAST, "train.batch_size=8"]
    )
    assert figures["test_accuracy"] >= 0.9
    unlabelled = written(tmp_path / "new.jsonl", [{"text": "The old smith bends 7 of steel.", "id": 3}])
    done = call("predict", tmp_path / "run", unlabelled)
    assert done.code == 0
    assert (done.object["label"], done.object["id"]) == ("steel", 3)
    assert sum(done.object["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    labelled = call("predict", tmp_path / "run", written(tmp_path / "old.jsonl", [{"text": "x", "label": "iron"}]))
    assert labelled.object["label"] == "iron"
    assert "predicted" in labelled.object
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"Text": "The old smith."}\n{"Text": null}\n{"Text": \n{"Text": "x"}\n', encoding="utf-8")
    done = call("predict", tmp_path / "run", mixed)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, [row["label"] is None for row in rows]) == (0, [False, True, True, False])
    assert [row.get("error", "").partition(": ")[0] for row in rows[1:3]] == [f"{mixed}, line 2", f"{mixed}, line 3"]
    assert "2 of 4 records could not be labelled; their lines say why:" in done.err
    assert f"  1: the text is None, not a text ({mixed}, line 2)" in done.err
    assert f"{mixed}, line 2: the text is None, not a text" == rows[1]["error"]
    pair = written(tmp_path / "pair.jsonl", [{"text": "x"}, {"question": "?", "choices": ["a", "b"]}])
    *_, last = map(json.loads, call("predict", tmp_path / "run", pair).out.splitlines())
    assert "an example of choice, and the others are of text" in last["error"]
    nothing = call("predict", tmp_path / "run", written(tmp_path / "none.jsonl", [{"text": " "}]))
    assert nothing.code == 2
    assert "none of 1 records can be used; the first, " in nothing.err


def test_every_verb_on_examples_takes_an_encoding(base: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    rows = [f"Caf\xe9 {number} of {metal},{metal}" for number in range(20) for metal in ("iron", "steel")]
    data = tmp_path / "old.csv"
    data.write_bytes("\n".join(["text,label", *rows]).encode("cp1252"))
    arguments = ["finetune", base, data, "--out", "out", "--set", "train.num_steps=2"]
    refused = call(*arguments)
    assert (refused.code, "--encoding cp1252" in refused.err) == (2, True)
    assert call(*arguments, "--encoding", "cp1252").code == 0
    assert "cp1252" in Path("out/run.toml").read_text(encoding="utf-8")

    # As in training, or as it is said.
    (row, *_) = call("predict", "out", data).out.splitlines()
    assert json.loads(row)["text"] == "Caf\xe9 0 of iron"
    (row, *_) = call("predict", "out", data, "--encoding", "cp437").out.splitlines()
    assert json.loads(row)["text"] == "Caf\u0398 0 of iron"

    task = ["evaluate", base, data, "--task", "classification", "--limit", "4"]
    assert call(*task).code == 2
    assert call(*task, "--encoding", "cp1252").code == 0

    # Its result is a classifier, of which no text is scored.
    for against in ([], ["--against", "out"]):
        refused = call("evaluate", base if against else "out", data, *against)
        assert (refused.code, "predict out FILE" in refused.err.replace("\n", " ")) == (2, True), refused.err


@pytest.mark.parametrize("objective", ["dpo", "reward_model", "simpo"])
def test_preferences_are_learnt(base: Path, pair_data: Path, tmp_path: Path, objective: str) -> None:
    settings = [FLOAT32, "train.batch_size=8"]
    figures = gptsmith.finetune(
        base, [pair_data], out=tmp_path / "run", objective=objective, epochs=5, settings=settings
    )
    assert figures["num_test_examples"] == 16
    assert figures["test_accuracy"] >= 0.9
    losses = [row["validation_loss"] for row in evaluations(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_unpaired_preferences_are_learnt_by_kto(base: Path, pair_data: Path, tmp_path: Path) -> None:
    pairs = map(json.loads, pair_data.read_text(encoding="utf-8").splitlines())
    data = written(
        tmp_path / "unpaired.jsonl",
        [
            {"prompt": pair["prompt"], "completion": pair["chosen" if good else "rejected"], "label": good}
            for number, pair in enumerate(pairs)
            for good in [number % 2 == 0]
        ],
    )
    settings = [FLOAT32, "train.batch_size=8", "train.optimizer.learning_rate=1e-3"]
    figures = gptsmith.finetune(base, [data], out=tmp_path / "run", epochs=8, settings=settings)
    assert figures["objective"] == "kto"
    assert figures["test_accuracy"] >= 0.9
    losses = [row["validation_loss"] for row in evaluations(tmp_path / "run")]
    assert losses[0] == pytest.approx(0.5, abs=1e-6)
    assert losses[-1] < 0.4


def test_fine_tuning_in_bfloat16_lowers_the_loss(base: Path, chat_data: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "train.dtype=bfloat16", "train.num_steps=12", "train.optimizer.learning_rate=3e-3"]
    figures = gptsmith.finetune(base, [chat_data], out=tmp_path / "run", settings=settings)
    assert figures["dtype"] == "bfloat16"
    losses = [row["validation_loss"] for row in evaluations(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


GRPO = [
    FLOAT32, "train.num_steps=24", "train.batch_size=4", "train.evaluate_every_steps=4",
    "train.objective.max_tokens=16", "train.objective.group_size=6", "train.optimizer.learning_rate=1e-3",
    "train.objective.kl_coef=0.0",
]  # fmt: skip


def test_the_reference_model_is_run_once(
    base: Path, pair_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    few = written(tmp_path / "pairs.jsonl", [json.loads(line) for line in pair_data.read_text().splitlines()[:40]])
    read = ExampleDataset._log_likelihoods
    times: list[ExampleDataset] = []
    monkeypatch.setattr(ExampleDataset, "_log_likelihoods", lambda self, *rest: times.append(self) or read(self, *rest))
    first, again = (gptsmith.finetune(base, [few], out=tmp_path / name, settings=QUICK) for name in "ab")
    assert len(times) == 1
    assert first["test_loss"] == again["test_loss"]
    gptsmith.finetune(base, [few], out=tmp_path / "c", settings=[*QUICK, "model.context_length=80"])
    gptsmith.finetune(tmp_path / "a", [few], out=tmp_path / "d", settings=QUICK)
    assert len(times) == 3


def test_lora_adapters_are_trained_over_quantized_weights_and_merged(
    base: Path, chat_data: Path, tmp_path: Path
) -> None:
    rounded = gptsmith.compress(base, to="int8", out=tmp_path / "rounded")["run"]
    settings = [*FAST, 'model.linear.targets=["attention.*"]']
    tuned = gptsmith.finetune(rounded, [chat_data], out=tmp_path / "tuned", lora=4, epochs=1, settings=settings)
    assert tuned["status"] == "finished"
    config = gptsmith.load(tuned["run"]).config
    assert (config.linear.kind, config.linear.base.kind) == ("lora", "int8")  # type: ignore[attr-defined]
    merged = gptsmith.merge(tuned["run"], out=tmp_path / "merged")
    assert merged["largest_logit_difference"] < 1e-3
    asked = [{"role": "user", "content": questions(1)[0]["question"]}]
    first, second = (
        gptsmith.load(run).reply(asked, max_tokens=20, temperature=0) for run in (tuned["run"], merged["run"])
    )
    assert first == second


def test_grpo_makes_completions_of_higher_reward_likelier(
    chatting: dict[str, Any], chat_data: Path, tmp_path: Path
) -> None:
    seen = []

    def likes_nails(messages: Any, answer: str, truth: str) -> float:
        seen.append((messages[-1]["content"], truth))
        return float("nail" in answer)

    figures = gptsmith.finetune(
        chatting["run"], [chat_data], out=tmp_path / "run", objective="grpo", reward=likes_nails, settings=GRPO
    )
    assert figures["test_reward"] > 0.7
    assert {(row["question"], row["answer"]) for row in questions(120)} >= set(seen)
    before = [figure["reward"] for figure in evaluations(tmp_path / "run")]
    assert before[-1] > before[0]


def test_grpo_resamples_prompts_that_teach_nothing(chatting: dict[str, Any], chat_data: Path) -> None:
    tuned = gptsmith.load(chatting["run"])
    encoder = Encoder(tuned.tokenizer, tuned.template or ChatTemplate(), tuned.config.context_length)
    examples = read_examples([str(chat_data)], "chat").examples
    asked: list[str] = []

    def likes_one_half(messages: Any, answer: str, _: str) -> float:
        """The answers of every second prompt differ in worth, those of the others do not."""
        asked.append(messages[-1]["content"])
        return float(derived_seed(0, asked[-1]) % 2 and len(asked) % 2)

    def groups(max_resamples: int) -> list[Group]:
        objective = GrpoSettings(group_size=4, max_tokens=4, max_resamples=max_resamples)
        inputs = DatasetInputs(tuned.model, encoder, ExampleSplits(examples, [], []), None, seed=1)
        return RolloutDataset(objective, inputs, likes_one_half).groups(tuned.model, range(16))

    def num_idle(found: list[Group]) -> int:
        return sum(not any(group.advantages) for group in found)

    plain, redrawn = groups(0), groups(6)
    assert len(plain) == len(redrawn) == 16
    assert 3 < num_idle(plain) < 13
    assert num_idle(redrawn) < num_idle(plain) / 2
    kept = [(one, other) for one, other in zip(plain, redrawn, strict=True) if any(one.advantages)]
    assert all(one == other for one, other in kept)


@pytest.fixture(scope="module")
def dropping(base: Path, chat_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A chat that was tuned with dropout."""
    out = tmp_path_factory.mktemp("dropping") / "chat"
    settings = [*QUICK, "train.num_steps=2", "model.dropout=0.2"]
    return str(gptsmith.finetune(base, [chat_data], out=out, settings=settings)["run"])


@pytest.mark.parametrize("objective", ["grpo", "dpo", "reward_model"])
def test_there_is_no_dropout_beside_a_reference_model(
    dropping: str, chat_data: Path, pair_data: Path, tmp_path: Path, objective: str
) -> None:
    assert gptsmith.load(dropping).config.dropout == 0.2
    data = chat_data if objective == "grpo" else pair_data
    more = ["train.objective.reward=exact", "train.objective.max_tokens=16"] if objective == "grpo" else []
    settings = [*QUICK, "train.num_steps=2", *more]
    figures = gptsmith.finetune(dropping, [data], objective=objective, out=tmp_path / "run", settings=settings)
    assert gptsmith.load(figures["run"]).config.dropout == (0.2 if objective == "reward_model" else 0.0)


def evaluations(run: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["event"] == "evaluation"]


def test_a_reward_model_rewards_what_it_has_learnt_to_prefer(
    chatting: dict[str, Any], pair_data: Path, tmp_path: Path
) -> None:
    judge = gptsmith.finetune(
        chatting["run"], [pair_data], objective="reward_model", out=tmp_path / "judge", epochs=6, settings=FAST
    )
    reward = reward_of(judge["run"])
    asked = [{"role": "user", "content": "7?"}]
    assert reward(asked, "a nail of steel", "") > reward(asked, "a nail of iron", "")


@pytest.mark.parametrize(
    ("name", "answer", "truth", "worth"),
    [
        ("number", "It is 1,234.", "so #### 1234", 1.0),
        ("number", "12 and 5", "#### 12", 0.0),
        ("number", "#### 3 apples", "3", 1.0),
        ("number", "none", "none", 0.0),
        ("exact", " 7 ", "7", 1.0),
        ("exact", "7.", "7", 0.0),
        ("pattern:^\\d+$", "12", "", 1.0),
        ("pattern:^\\d+$", "x12", "", 0.0),
    ],
)
def test_rewards_are_known(name: str, answer: str, truth: str, worth: float) -> None:
    assert reward_of(name)([], answer, truth) == worth


def test_a_reward_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def short(messages, answer, truth):\n    return 1 / len(answer)\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"this command does not: read it, and if you trust it, add --set train\.obj"):
        reward_of(f"{file}:short")
    with trusting([f"train.objective.reward={file}:other"]):
        assert reward_of(f"{file}:short")([], "four", "") == 0.25
    for name, problem in (
        (f"{file}:long", "defines no function long"),
        (f"{tmp_path}/other.py:f", "there is no file"),
        ("pattern:(", "not a regular expression"),
        ("nonsense", "no such reward"),
    ):
        with pytest.raises(UserError, match=problem), trusting([f"train.objective.reward={name}"]):
            reward_of(name)
    file.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(UserError, match="ZeroDivisionError"), trusting([f"train.objective.reward={file}:f"]):
        reward_of(f"{file}:short")


def test_a_reward_that_fails_names_the_example(chatting: dict[str, Any], chat_data: Path, tmp_path: Path) -> None:
    def fails(*_: Any) -> float:
        raise KeyError("length")

    with pytest.raises(UserError, match=r"reward function fails on .*chat\.jsonl, line \d+ \(KeyError"):
        gptsmith.finetune(
            chatting["run"], [chat_data], out=tmp_path / "run", objective="grpo", reward=fails, settings=GRPO
        )


@pytest.mark.parametrize(
    ("reward", "problem"),
    [
        (lambda *_: float("nan"), r"none of \d+ completions got a reward: .*chat\.jsonl, line \d+"),
        (lambda *_: None, r"none of \d+ completions got a reward: .*chat\.jsonl, line \d+"),
        (lambda *_: float("inf"), r"returns inf on .*chat\.jsonl, line \d+; the completion was .*: return a finite"),
    ],
)
def test_a_reward_that_is_never_a_number_is_an_error(
    chatting: dict[str, Any], chat_data: Path, tmp_path: Path, reward: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        gptsmith.finetune(
            chatting["run"], [chat_data], out=tmp_path / "run", objective="grpo", reward=reward, settings=GRPO
        )


def test_completions_without_a_reward_are_left_out_and_counted(
    chatting: dict[str, Any], chat_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOG_EVERY_STEPS", 1)

    def sometimes(messages: Any, answer: str, _: str) -> float | None:
        seed = derived_seed(0, answer, messages[-1]["content"])
        return None if seed % 3 == 0 else float("nan") if seed % 3 == 1 else float(len(answer) % 2)

    run = tmp_path / "run"
    settings = [*GRPO, "train.num_steps=3"]
    figures = gptsmith.finetune(
        chatting["run"], [chat_data], out=run, objective="grpo", reward=sometimes, settings=settings
    )
    steps = RunLog(run / "metrics.jsonl").events("step")
    assert figures["step"] == len(steps) == 3
    assert all(math.isfinite(step["train_loss"]) for step in steps)
    assert all(0 < step["unrewarded_fraction"] < 1 and 0 <= step["idle_group_fraction"] <= 1 for step in steps)


def test_where_nothing_better_comes_the_base_is_the_result(
    chatting: dict[str, Any], chat_data: Path, tmp_path: Path
) -> None:
    settings = [*QUICK, "train.optimizer.learning_rate=0.3"]
    figures = gptsmith.finetune(chatting["run"], [chat_data], out=tmp_path / "run", settings=settings)
    assert figures["best_step"] == 0
    assert figures["validation_loss"] == pytest.approx(chatting["validation_loss"], rel=1e-4)
    assert figures["general_bits_per_byte"] == figures["general_bits_per_byte_before"]


def test_lora_adapters_alone_are_trained(base: Path, chat_data: Path, tmp_path: Path) -> None:
    gptsmith.finetune(base, [chat_data], out=tmp_path / "run", lora=4, settings=QUICK)
    before = load_file(list_checkpoints(base / "checkpoints")[0].folder / "model.safetensors")
    after = load_file(list_checkpoints(tmp_path / "run" / "checkpoints")[0].folder / "model.safetensors")
    assert all("lora" in name for name in after)
    assert all(value.abs().max() > 0 for name, value in after.items() if name.endswith("lora_b"))
    frozen = load_file(tmp_path / "run" / "checkpoints" / "frozen.safetensors")
    kept = {name.replace(".base.", "."): value for name, value in frozen.items()}
    best = gptsmith.load(base)
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], value) for name, value in best.model.named_parameters())


def test_a_lora_checkpoint_holds_the_adapters_and_names_the_rest_by_its_hash(
    base: Path, chat_data: Path, tmp_path: Path
) -> None:
    whole, run, gone = tmp_path / "whole", tmp_path / "run", tmp_path / "gone"
    arguments = {"lora": 4, "settings": [*QUICK, "checkpoint.every_steps=2"]}
    expected = gptsmith.finetune(base, [chat_data], out=whole, **arguments)
    with stopped_after(4):
        gptsmith.finetune(base, [chat_data], out=run, **arguments)
    figures = gptsmith.finetune(resume=run)
    assert figures["validation_loss"] == expected["validation_loss"]
    for one, other in zip(*(list_checkpoints(each / "checkpoints") for each in (run, whole)), strict=True):
        assert one.frozen() == other.frozen()
        assert one.frozen() is not None
        assert {name: record["bytes"] for name, record in one.frozen().items()} == {
            "frozen.safetensors": frozen_bytes(run)
        }
        assert (one.folder / "model.safetensors").stat().st_size < frozen_bytes(run) / 4
        assert (
            load_file(one.folder / "model.safetensors").keys() == load_file(other.folder / "model.safetensors").keys()
        )
    answer = gptsmith.load(whole).generate("The", max_tokens=8, temperature=0)
    shutil.move(whole, gone)  # the run is whole by itself, wherever it lies
    merged = gptsmith.merge(gone, out=tmp_path / "merged")["run"]
    for folder in (gone, run, merged):
        assert gptsmith.load(folder).generate("The", max_tokens=8, temperature=0) == answer
    gptsmith.export(gone, to="peft", out=tmp_path / "peft")
    frozen = gone / "checkpoints" / "frozen.safetensors"
    content = bytearray(frozen.read_bytes())
    content[-1] ^= 1
    frozen.write_bytes(content)
    with pytest.raises(UserError, match=r"frozen\.safetensors, and that file has changed since"):
        gptsmith.load(gone)
    frozen.unlink()
    with pytest.raises(UserError, match=r"frozen\.safetensors, and that file is gone"):
        gptsmith.load(gone)
    assert list_checkpoints(gone / "checkpoints")  # none was set aside for it


def frozen_bytes(run: Path) -> int:
    return (run / "checkpoints" / "frozen.safetensors").stat().st_size


def test_a_run_of_adapters_whose_checkpoints_hold_all_weights_is_resumed(
    base: Path, chat_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = gptsmith.finetune(base, [chat_data], out=tmp_path / "whole", lora=4, settings=QUICK)
    with monkeypatch.context() as older, stopped_after(4):
        older.setattr(save, "is_frozen", lambda _: False)
        gptsmith.finetune(base, [chat_data], out=tmp_path / "run", lora=4, settings=QUICK)
    (old, *_) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert old.frozen() is None
    assert json.loads((old.folder / "MANIFEST.json").read_text())["format_version"] == 2
    figures = gptsmith.finetune(resume=tmp_path / "run")
    assert figures["validation_loss"] == expected["validation_loss"]
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[0]
    assert newest.frozen() is not None
    assert json.loads((newest.folder / "MANIFEST.json").read_text())["format_version"] == 3


def test_distillation_teaches_a_student_more_than_text_alone(base: Path, tmp_path: Path) -> None:
    text = base.parent / "smiths"
    shape = ["model.embed_dim=32", "model.num_heads=2", "model.head_dim=16", "model.num_layers=1"]
    plain = [s for s in SMALL if not s.startswith(("model.embed_dim", "model.num_layers", "tokenizer"))]
    student = gptsmith.pretrain(
        [text], out=tmp_path / "student", tokenizer=str(base),
        settings=[*plain, *shape, "model.context_length=96", "train.num_steps=2"],
    )["run"]  # fmt: skip
    same = [FLOAT32, "train.num_steps=25", "train.batch_size=4", "train.optimizer.learning_rate=3e-3"]
    alone = gptsmith.finetune(student, [text], out=tmp_path / "alone", settings=same)
    taught = gptsmith.finetune(
        student, [text], out=tmp_path / "taught", objective="distillation",
        settings=[*same, f"train.objective.teacher={base}", "train.objective.alpha=0.8"],
    )  # fmt: skip
    assert alone["num_tokens"] == taught["num_tokens"]
    assert taught["validation_loss"] < alone["validation_loss"]


def steps(run: Path) -> dict[int, float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["step"]: row["train_loss"] for row in rows if row["event"] == "step"}


@pytest.mark.parametrize("objective", ["sft", "classification", "dpo"])
def test_a_stopped_run_resumes_as_if_it_had_not_stopped(
    objective: str,
    base: Path,
    chat_data: Path,
    labelled_data: Path,
    pair_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = {"sft": chat_data, "classification": labelled_data, "dpo": pair_data}[objective]
    settings = [FLOAT32, "train.num_steps=9", "train.batch_size=4", "model.dropout=0.1", "checkpoint.every_steps=4"]
    settings.append("train.patience_evaluations=9")  # whether it gets better does not matter here
    monkeypatch.setattr(log, "LOG_EVERY_STEPS", 1)
    golden = gptsmith.finetune(base, [data], out=tmp_path / "golden", settings=settings)
    with stopped_after(5):
        first = gptsmith.finetune(base, [data], out=tmp_path / "run", settings=settings)
    assert (first["status"], first["step"]) == ("stopped", 5)
    again = gptsmith.finetune(base, [data], out=tmp_path / "run", settings=settings)
    assert (again["status"], again["step"]) == ("finished", 9)
    ours, theirs = steps(tmp_path / "run"), steps(tmp_path / "golden")
    assert ours == theirs
    assert len(ours) == 9
    assert again["test_loss"] == golden["test_loss"]


def test_the_command_shows_examples_and_trains(
    base: Path, chat_data: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    shown = call("finetune", base, chat_data, "--preview", "--json")
    first = shown.object["examples"][0]
    assert first["place"] == f"{chat_data}, line 2"
    (pieces,) = first["sequences"]
    trained = "".join(piece["text"] for piece in pieces if piece["trained"])
    assert trained == f"{questions(2)[1]['answer']}<|im_end|>"
    assert "line 2" in call("finetune", base, chat_data, "--preview").out
    out = tmp_path / "tuned"
    settings = [part for setting in QUICK for part in ("--set", setting)]
    done = call("finetune", base, chat_data, "--out", out, "--json", *settings)
    assert done.code == 0, done.err
    assert done.object["run"] == str(out)
    assert read_toml(out / "run.toml")["request"]["base"] == str(base)
    for verb in ("info", "runs"):
        assert call(verb, out if verb == "info" else out.parent, "--json").code == 0
    assert (out / "report.html").exists()
    assert f"gptsmith finetune {base} {chat_data}" in (out / "report.html").read_text(encoding="utf-8")


def test_a_conversation_goes_on_in_the_terminal(
    chatting: dict[str, Any], call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    lines = "1: a nail of iron?\n2: a sword of steel?\n/new\n1: a nail of iron?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    done = call("chat", chatting["run"], "--temperature", "0", "--max-tokens", "16", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert all(row["text"] for row in rows)
    # It was tuned on conversations of one turn: how it ends a second one is its own affair.
    assert rows[0]["finish_reason"] == rows[2]["finish_reason"] == "stop"
    assert rows[0]["text"] == rows[2]["text"]
    assert rows[1]["num_prompt_tokens"] > rows[0]["num_prompt_tokens"]
    assert rows[2]["num_prompt_tokens"] == rows[0]["num_prompt_tokens"]


def refused(outcome: Any, *words: str) -> None:
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("gptsmith: ")
    for word in words:
        assert word in last
    assert not Path("out").exists()


def test_bad_input_is_one_line_and_leaves_nothing(
    base: Path, chat_data: Path, labelled_data: Path, pair_data: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    def with_lines(*records: dict[str, Any], name: str = "bad.jsonl") -> Path:
        return written(tmp_path / name, [*records])

    def tune(*arguments: object) -> Any:
        return call("finetune", base, *arguments, "--out", "out")

    refused(call("finetune", base, "--out", "out"), "name a trained run and the data")
    refused(call("finetune", "nowhere", chat_data, "--out", "out"), "nowhere", "no such run")
    refused(tune(chat_data, "--objective", "sftt"), "sftt", "did you mean sft?")
    refused(tune(chat_data, "--objective", "reward_model"), "shape chat", "allowed: sft, distillation, grpo")
    refused(tune(labelled_data, "--objective", "sft"), "shape labelled", "classification")
    refused(tune(with_lines({"id": 7})), "line 1", '{"id": 7}', "labelled (label, with text")
    good = questions(3)
    refused(tune(with_lines(*good, {"prompt": "x"})), "line 4", '{"prompt": "x"}', "question, answer")
    refused(tune(with_lines(*good, {"question": "x" * 400, "answer": "y"})), "line 4", "context of 96", "--skip-bad")
    refused(tune(with_lines({"text": "a", "label": "x"}, {"text": "b", "label": "x"})), "at least two labels")
    held_back = with_lines({"text": "a", "label": "gold"}, name="validation.jsonl")
    refused(tune(labelled_data, "--validation", held_back), "label 'gold' is not known", "line 1")
    refused(tune(with_lines({"messages": [{"role": "user", "content": "x"}]})), "line 1", "no turn of the assistant")
    refused(tune(with_lines({"prompt": "x", "chosen": "a", "rejected": "a"})), "line 1", "are the same")
    refused(tune(chat_data, "--lora", "4", "--set", 'model.linear.targets=["attention.querry"]'), "attention.query")
    refused(tune(chat_data, "--set", "model.embed_dim=128"), "model.embed_dim", "base's own")
    refused(tune(chat_data, "--set", "model.context_length=400"), "at most the base's 96")
    refused(tune(chat_data, "--objective", "distillation"), "needs a teacher")
    refused(tune(chat_data, "--objective", "grpo", "--set", "train.objective.reward=best"), "no such reward")
    refused(tune(chat_data, "--epochs", "0"), "epochs")
    refused(call("finetune", "--resume", base), "was not fine-tuned")


def test_bad_examples_can_be_left_out(base: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    data = written(
        tmp_path / "data.jsonl",
        [
            *questions(20),
            {"question": "x" * 400, "answer": "y"},
            {"question": "x", "answer": None},
            {"question": "x", "answer": " "},
            {"question": "x", "answer": "  "},
            {"text": "of another shape"},
        ],
    )
    data.write_text(data.read_text(encoding="utf-8") + '{"question": "cut', encoding="utf-8")
    done = call("finetune", base, data, "--out", "run", "--skip-bad", *(f"--set={each}" for each in QUICK))
    assert done.code == 0, done.err
    assert "6 bad examples are skipped:" in done.err
    skipped = json.loads(Path("run/data.json").read_text(encoding="utf-8"))["skipped_examples"]
    assert skipped["the assistant's last turn is empty: there is nothing to learn"] == {
        "count": 2,
        "places": [f"{data}, line 23", f"{data}, line 24"],
    }
    assert sorted(each["count"] for each in skipped.values()) == [1, 1, 1, 1, 2]
    refused(call("finetune", base, data, "--out", "other"), f"{data}, line 22", "the answer is None")


def test_a_preview_skips_bad_examples_too(base: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    data = written(tmp_path / "data.jsonl", [{"question": "x" * 400, "answer": "y"}, *questions(20)])
    done = call("finetune", base, data, "--skip-bad", "--preview", "--json", "--set=examples.validation_fraction=0")
    assert (done.code, len(done.object["examples"])) == (0, 3)


def test_columns_that_were_taken_are_said(base: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    rows = [
        f"The old smith forges nail number {number} of iron and of steel.,{'iron' if number % 2 else 'steel'}"
        for number in range(120)
    ]
    (tmp_path / "metal.csv").write_text("\n".join(["Sentence,Verdict", *rows]), encoding="utf-8")
    refused(
        call("finetune", base, "metal.csv", "--out", "out"), "Verdict looks like their label", "label_field=Verdict"
    )
    named = ["--set=examples.label_field=Verdict", *(f"--set={each}" for each in QUICK)]
    done = call("finetune", base, "metal.csv", "--out", "out", *named)
    assert (done.code, "the text is the field Sentence, the label is the field Verdict" in done.err) == (0, True)
    data = json.loads(Path("out/data.json").read_text(encoding="utf-8"))
    assert data["fields"] == {"metal.csv": {"text": "Sentence", "label": "Verdict"}}
    done = call("finetune", base, "metal.csv", "--out", "alone", "--objective", "next_token", "--epochs", "1")
    assert (done.code, "text: the field Sentence of metal.csv" in done.err) == (0, True)


def test_data_that_changed_is_noticed(base: Path, chat_data: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data.jsonl", tmp_path / "run"
    shutil.copy(chat_data, data)
    gptsmith.finetune(base, [data], out=run, settings=QUICK)
    (run / "result.json").unlink()
    written(data, questions(30, seed=9))
    with pytest.raises(UserError, match="has changed since it was trained on"):
        gptsmith.finetune(resume=run)
    shutil.copy(chat_data, data)
    with pytest.raises(UserError, match=r"train\.batch_size changed"):
        gptsmith.finetune(resume=run, settings=["train.batch_size=2"])


def test_a_run_that_has_ended_is_tuned_further_and_not_resumed(
    chatting: dict[str, Any], chat_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is finished: fine-tune it further"):
        gptsmith.finetune(resume=chatting["run"])
    further = gptsmith.finetune(chatting["run"], [chat_data], out=tmp_path / "further", settings=QUICK)
    assert further["general_bits_per_byte_before"] == pytest.approx(chatting["general_bits_per_byte"], rel=1e-5)
