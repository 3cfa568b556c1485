"""The account of examples on their way to tokens: shortened, cut off, skipped, or not to be spelt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.load import load_tokenizer
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.rollouts import RolloutDataset
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives.classification import ClassificationSettings
from gptsmith.train.objectives.dpo import DpoSettings
from gptsmith.train.objectives.grpo import GrpoSettings
from gptsmith.train.objectives.sft import SftSettings
from tests.train.contracts import CONTEXT, tiny, tiny_encoder


def long_talk(num_turns: int) -> ChatExample:
    turns = [{"role": "system", "content": "s"}]
    for number in range(num_turns):
        turns += [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
    return ChatExample("long.jsonl, line 1", tuple(turns))


def test_prompts_that_are_too_long_lose_their_oldest_turns_and_are_counted() -> None:
    encoder, objective = tiny_encoder(), GrpoSettings(max_tokens=20)
    question = {"role": "user", "content": "q" * 200}
    hopeless = ChatExample("hopeless.jsonl, line 1", (question, {"role": "assistant", "content": "a"}))
    splits = ExampleSplits([long_talk(2), long_talk(12), hopeless], [long_talk(9)], [hopeless])
    inputs = DatasetInputs(tiny(), encoder, splits, None, seed=0, skip_bad=True)
    dataset = RolloutDataset(objective, inputs, lambda *_: 1.0)
    assert [len(prompts) for prompts in (dataset.train, dataset.validation, dataset.test)] == [2, 1, 0]
    short, long = dataset.train
    assert short.num_omitted == 0
    messages = long.example.messages[:-1]
    kept = [messages[0], *messages[1 + long.num_omitted :]]
    assert long.ids == encoder.template.prompt_ids(encoder.tokenizer, kept)
    assert kept[1]["role"] == "user"
    assert len(long.ids) <= CONTEXT - objective.max_tokens
    account = dataset.account()
    assert (account.num_shortened, len(account.skipped)) == (2, 2)
    assert account.num_omitted == long.num_omitted + dataset.validation[0].num_omitted
    said = "\n".join(dataset.description())
    assert "2 conversations are longer than the context of 96 tokens" in said
    assert "2 bad examples are skipped" in said
    with pytest.raises(UserError, match=r"hopeless.jsonl, line 1: .* --skip-bad"):
        RolloutDataset(objective, replace(inputs, skip_bad=False), lambda *_: 1.0)
    with pytest.raises(UserError, match="none of the 1 examples"):
        RolloutDataset(objective, replace(inputs, splits=ExampleSplits([hopeless], [], [])), lambda *_: 1.0)


def test_texts_of_labels_that_are_cut_off_are_counted_and_said() -> None:
    texts = [LabelledExample("here", "text", (text,), label) for text, label in (("a" * 300, "x"), ("b", "y"))]
    objective = ClassificationSettings(labels=["x", "y"])
    inputs = DatasetInputs(tiny(num_labels=2), tiny_encoder(), ExampleSplits(texts, [], []), None, seed=0)
    dataset = objective.dataset(inputs)
    assert dataset.account().figures()["num_truncated_examples"] == 1
    assert any("1 example is longer than the context of 96 tokens" in line for line in dataset.description())


@pytest.fixture(scope="module")
def speaker_of_one_word(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """An encoder whose tokenizer knows the word `old` and no other."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = ["[UNK]", "old", "<|done|>", "<|im_start|>", "<|im_end|>"]
    backend = Backend(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.add_special_tokens(words[2:])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|done|>"}', encoding="utf-8")
    return Encoder(
        load_tokenizer(folder), ChatTemplate("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"), 64
    )


Objective = SftSettings | DpoSettings | ClassificationSettings


def of_each_shape(answer: str) -> dict[str, tuple[Objective, Example]]:
    user, assistant = {"role": "user", "content": "old old"}, {"role": "assistant", "content": answer}
    return {
        "conversation": (SftSettings(), ChatExample("here", (user, assistant))),
        "preference": (DpoSettings(), PreferenceExample("here", (user,), answer, "old old")),
        "labelled": (ClassificationSettings(labels=["x", "y"]), LabelledExample("here", "text", (answer,), "x")),
    }


@pytest.mark.parametrize("shape", of_each_shape(""))
@pytest.mark.parametrize(("answer", "is_spelt"), [("old mill", False), ("old", True)])
def test_examples_that_cannot_be_spelt_are_warned_of(
    speaker_of_one_word: Encoder, shape: str, answer: str, is_spelt: bool
) -> None:
    objective, example = of_each_shape(answer)[shape]
    encoding = Encoding(speaker_of_one_word, skip_bad=False)
    list(encoding.encode("train", [example], lambda each: objective.samples(each, speaker_of_one_word)))
    assert (encoding.figures()["unknown_token_fraction"] > 0.05) == (not is_spelt)
    assert any("[UNK], and what it stands for is lost: choose a base" in line for line in encoding.lines()) != is_spelt


def test_phrasings_of_one_answer_that_stand_together_are_spread_over_the_rows() -> None:
    """A step then learns from many answers, and not from few again and again."""
    answers = [f"a{number}" for number in range(40)]
    examples = [
        ChatExample(answer, ({"role": "user", "content": f"q{asked}"}, {"role": "assistant", "content": answer}))
        for answer in answers
        for asked in range(7)
    ]
    inputs = DatasetInputs(tiny(), tiny_encoder(), ExampleSplits(examples, [], []), None, seed=1)
    train = SftSettings().dataset(inputs).train
    rows = [train.places(number) for number in range(len(train))]
    assert sorted(place for row in rows for place in row) == sorted(answers * 7)
    several = [row for row in rows if len(row) > 2]
    assert len(several) > 20
    assert sum(len(set(row)) for row in several) > 0.85 * sum(map(len, several))
