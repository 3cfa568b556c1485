"""Tasks: records to questions, answers to figures; one that knows everything, one that knows nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.examples import records
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.prompt import Prompt
from gptsmith.evaluate.run_tasks import PreparedTask, prepare_task, run_task
from gptsmith.evaluate.tasks import KINDS, TaskResult, TaskSettings
from gptsmith.evaluate.tasks.arithmetic import in_words, sums, write_sums

CHOICES = ["iron", "steel", "wood"]


def written(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def task(kind: str, **settings: Any) -> TaskSettings:
    return KINDS.settings(kind).parse({"kind": kind, **settings}, f"--task {kind}")


class Oracle(LanguageModel):
    """Answers by a function of the prompt's text."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.template = None
        self.num_truncated = 0

    def score_choices(self, questions: Any, observe: Any = None) -> list[list[ContinuationScore]]:
        return [
            [ContinuationScore(0.0 if choice == self.answer(prompt) else -9.0, 1, False) for choice in choices]
            for prompt, choices in questions
        ]

    def reply(self, prompts: Any, max_tokens: int, observe: Any = None) -> list[str]:
        return [self.answer(prompt) for prompt in prompts]


def result_of(prepared: PreparedTask, answer: Any) -> TaskResult:
    return run_task(prepared, Oracle(answer))


def values(found: TaskResult) -> dict[str, float]:
    return {metric.name: metric.statistic(metric.outcomes) for metric in found.metrics}


def questions(count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"{number}: what is it made of?", "choices": CHOICES, "answer": number % 3}
        for number in range(count)
    ]


def test_every_kind_keeps_the_contract() -> None:
    assert KINDS.names() == ["arithmetic", "classification", "generated", "multiple_choice"]
    for name in KINDS.names():
        assert task(name).kind == name
    with pytest.raises(UserError, match="did you mean multiple_choice"):
        KINDS.settings("multiple_choise")


@pytest.mark.parametrize(("field", "answer"), [
    ("answer", 2), ("label", 2), ("answer", "C"), ("answer", "c"), ("answer", "wood"), ("label", "2"),
])  # fmt: skip
def test_a_choice_is_named_by_its_number_its_letter_or_its_text(field: str, answer: Any, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [{"question": "Which?", "choices": CHOICES, field: answer}])
    (example,) = task("multiple_choice").examples([data], seed=0).scored
    assert (example.gold, example.answer, example.choices) == (2, "wood", tuple(CHOICES))
    assert example.prompt.text == "Question: Which?\nAnswer:"
    assert [*example.prompt.messages] == [{"role": "user", "content": "Which?"}]


def test_the_text_of_a_choice_comes_before_its_number(tmp_path: Path) -> None:
    record = {"question": "How many?", "choices": ["2", "0", "1"], "answer": "1"}
    (example,) = task("multiple_choice").examples([written(tmp_path / "data.jsonl", [record])], seed=0).scored
    assert example.gold == 2


def test_accuracy_by_the_whole_and_by_the_length(tmp_path: Path) -> None:
    records = [{"question": "?", "choices": ["ab", "abcdefgh"], "answer": 1}] * 4
    prepared = prepare_task(task("multiple_choice"), [written(tmp_path / "data.jsonl", records)])

    class Given(Oracle):
        def score_choices(self, questions: Any, observe: Any = None) -> list[list[ContinuationScore]]:
            return [[ContinuationScore(-3.0, 1, False), ContinuationScore(-4.0, 4, False)] for _ in questions]

    found = run_task(prepared, Given(None))
    assert values(found) == {"accuracy": 0.0, "normalized_accuracy": 1.0}
    assert [metric.baseline for metric in found.metrics] == [0.5, 0.5]


def test_the_baseline_of_choices_is_that_of_their_numbers(tmp_path: Path) -> None:
    records = [*questions(2), {"question": "?", "choices": ["yes", "no"], "answer": "no"}]
    found = result_of(
        prepare_task(task("multiple_choice"), [written(tmp_path / "data.jsonl", records)]), lambda prompt: "iron"
    )
    assert found.metrics[0].baseline == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)


@pytest.mark.parametrize(("record", "words"), [
    ({"question": "?", "choices": CHOICES}, ("line 2", '"question": "?"', "choices", "answer (or label)")),
    ({"text": "?", "answer": 0}, ("line 2", "question, choices")),
    ({"question": "?", "choices": "iron", "answer": 0}, ("line 2", "a list")),
    ({"question": "?", "choices": CHOICES, "answer": 3}, ("line 2", "the answer 3", "3 choices")),
    ({"question": "?", "choices": CHOICES, "answer": -1}, ("line 2", "the answer -1")),
    ({"question": "?", "choices": CHOICES, "answer": True}, ("line 2", "the answer True")),
    ({"question": "?", "choices": CHOICES, "answer": "D"}, ("line 2", "the answer 'D'")),
    ({"question": "?", "choices": ["iron"], "answer": 0}, ("line 2", "two or more")),
    ({"question": "?", "choices": ["iron", "iron"], "answer": 0}, ("line 2", "no two the same")),
])  # fmt: skip
def test_a_question_without_a_right_choice_is_refused(record: dict[str, Any], words: Any, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [*questions(1), record])
    with pytest.raises(UserError) as refused:
        task("multiple_choice").examples([data], seed=0)
    assert all(word in str(refused.value) for word in words), refused.value


REVIEWS = [{"text": f"{number} good" if number % 4 else f"{number} bad", "label": "pos" if number % 4 else "neg"}
           for number in range(40)]  # fmt: skip


def test_a_classification_has_accuracy_macro_f1_and_a_confusion_matrix(tmp_path: Path) -> None:
    prepared = prepare_task(task("classification"), [written(tmp_path / "data.jsonl", REVIEWS)])
    known = result_of(prepared, lambda prompt: "pos" if "good" in prompt.text else "neg")
    assert values(known) == {"accuracy": 1.0, "macro_f1": 1.0}
    assert known.details == {"labels": ["neg", "pos"], "confusion_matrix": [[10, 0], [0, 30]]}
    guessed = result_of(prepared, lambda prompt: "pos")
    assert guessed.details["confusion_matrix"] == [[0, 10], [0, 30]]
    assert values(guessed) == pytest.approx({"accuracy": 0.75, "macro_f1": 3 / 7})
    assert [metric.baseline for metric in guessed.metrics] == pytest.approx([0.75, 3 / 7])


def test_labels_are_those_of_all_examples_and_not_of_those_that_are_scored(tmp_path: Path) -> None:
    prepared = prepare_task(task("classification"), [written(tmp_path / "data.jsonl", REVIEWS)], limit=1)
    assert len(prepared.examples) == 1
    assert prepared.examples[0].choices == ("neg", "pos")


def test_two_texts_with_a_label_are_one_question(tmp_path: Path) -> None:
    records = [{"premise": "It rains.", "hypothesis": "It is wet.", "label": label} for label in ("yes", "no")]
    example, _ = task("classification").examples([written(tmp_path / "data.jsonl", records)], seed=0).scored
    assert example.prompt.text == "Premise: It rains.\nHypothesis: It is wet.\nLabel:"
    assert (example.answer, example.choices) == ("yes", ("no", "yes"))


@pytest.mark.parametrize(("records", "words"), [
    ([*REVIEWS[:2], {"word": "x", "label": "pos"}], ("line 3", '"word": "x"', "label, with text; premise, hypothesis")),
    ([*REVIEWS[:2], {"text": "x", "label": None}], ("line 3", "the label is missing")),
    ([*REVIEWS[1:3]], ("at least two labels",)),
    ([*REVIEWS[:2], {"question": "?", "choices": CHOICES, "label": "iron"}], ("line 3", "multiple_choice")),
])  # fmt: skip
def test_records_without_labels_are_refused(records: Any, words: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        task("classification").examples([written(tmp_path / "data.jsonl", records)], seed=0)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("record", [
    {"question": "How many?", "answer": "4"},
    {"question": "How many?", "answer": 4},
    {"messages": [{"role": "user", "content": "How many?"}], "answer": "4"},
    {"messages": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "4"}]},
])  # fmt: skip
def test_questions_that_are_answered_freely(record: dict[str, Any], tmp_path: Path) -> None:
    (example,) = task("generated").examples([written(tmp_path / "data.jsonl", [record])], seed=0).scored
    assert [*example.prompt.messages] == [{"role": "user", "content": "How many?"}]
    assert example.prompt.text == "Question: How many?\nAnswer:"
    assert example.answer == "4"


def test_a_prompt_stands_as_it_is(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [{"prompt": "def add(a, b):", "answer": "return a + b"}])
    (example,) = task("generated").examples([data], seed=0).scored
    assert example.prompt.text == "def add(a, b):"


GSM = "She eats 3, so 16 - 3 = 13.\n#### 13"


@pytest.mark.parametrize(("scorer", "reply", "answer", "is_correct"), [
    ("exact", " 13\n", "13", True),
    ("exact", "It is 13", "13", False),
    ("contains", "It is Thirteen.", "thirteen", True),
    ("contains", "It is fourteen.", "thirteen", False),
    ("number", "16 - 3 = 13", GSM, True),
    ("number", "So it is 13.0 dollars.", GSM, True),
    ("number", "First 13, then 14", GSM, False),
    ("number", "#### 1,300", "1300", True),
    ("number", "none", GSM, False),
    ({"kind": "pattern", "pattern": r"^\d+$"}, "13", "whatever", True),
    ({"kind": "pattern", "pattern": r"^\d+$"}, "it is 13", "whatever", False),
    ({"kind": "pattern", "pattern": r"is (\d+)"}, "5 is 5, it is 13", "13", True),
    ({"kind": "pattern", "pattern": r"is (\d+)"}, "it is 14", "13", False),
])  # fmt: skip
def test_scorers(scorer: Any, reply: str, answer: str, is_correct: bool, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [{"question": "?", "answer": answer}])
    found = result_of(prepare_task(task("generated", scorer=scorer), [data]), lambda prompt: reply)
    assert values(found) == {"accuracy": float(is_correct)}


@pytest.mark.parametrize(("settings", "record", "words"), [
    ({}, {"question": "?"}, ("line 1", '{"question": "?"}', "question and answer")),
    ({}, {"text": "?"}, ("line 1", "question and answer")),
    ({"scorer": "number"}, {"question": "?", "answer": "many"}, ("line 1", "no number", "'many'")),
    ({"scorer": "contains"}, {"question": "?", "answer": " "}, ("line 1", "empty")),
    ({"scorer": "numbr"}, {"question": "?", "answer": "1"}, ("did you mean number",)),
    ({"scorer": {"kind": "pattern", "pattern": "(a"}}, {"question": "?", "answer": "1"}, ("regular expression",)),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(settings: Any, record: Any, words: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        task("generated", **settings).examples([written(tmp_path / "data.jsonl", [record])], seed=0)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_pattern_is_spelled_as_rewards_are() -> None:
    spelled = task("generated", scorer="pattern:a:(b+)")
    assert spelled == task("generated", scorer={"kind": "pattern", "pattern": "a:(b+)"})
    with pytest.raises(UserError, match=r"'\(b' is not a regular expression"):
        task("generated", scorer="pattern:(b")


def test_guessing_is_always_to_reply_the_commonest_answer(tmp_path: Path) -> None:
    answers = ["no", "yes", "yes", "maybe"]
    data = written(tmp_path / "data.jsonl", [{"question": f"{n}?", "answer": each} for n, each in enumerate(answers)])
    found = result_of(prepare_task(task("generated"), [data]), lambda prompt: "no")
    assert values(found) == {"accuracy": 0.25}
    assert found.metrics[0].baseline == 0.5


def test_files_that_hold_no_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("words", encoding="utf-8")
    with pytest.raises(UserError, match=r"no records in it \(allowed: .*\.jsonl"):
        task("multiple_choice").examples([tmp_path / "text.txt"], seed=0)
    with pytest.raises(UserError, match=r"needs files of examples.*question, choices"):
        task("multiple_choice").examples([], seed=0)


GOOD: dict[str, list[dict[str, Any]]] = {
    "multiple_choice": questions(4),
    "classification": REVIEWS[:4],
    "generated": [{"question": f"{number}?", "answer": "x"} for number in range(4)],
}
BAD: dict[str, list[Any]] = {
    "multiple_choice": [{"question": "?", "choices": CHOICES, "answer": 3}, {"question": 3, "choices": CHOICES}, {}],
    "classification": [{"text": "x", "label": None}, {"question": "?", "choices": CHOICES, "label": "iron"}, {"id": 1}],
    "generated": [{"question": "?", "answer": " "}, {"messages": [{"role": 7}]}, {"question": "?"}],
}


@pytest.mark.parametrize("kind", [name for name in KINDS.names() if KINDS.settings(name).fields])
def test_bad_records_are_skipped_and_counted_if_so_told(kind: str, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [*GOOD[kind][:2], *BAD[kind], *GOOD[kind][2:]])
    data.write_text(data.read_text(encoding="utf-8") + '{"question": "cut', encoding="utf-8")
    found = task(kind).examples([data], seed=0, skip_bad=True)
    assert [example.place for example in found.scored] == [f"{data}, line {number}" for number in (1, 2, 6, 7)]
    places = [place for places in found.skipped.places.values() for place in places]
    assert sorted(places) == [f"{data}, line {number}" for number in (3, 4, 5, 8)]
    with pytest.raises(UserError, match=r"data.jsonl, line 3: "):
        task(kind).examples([data], seed=0)
    with pytest.raises(UserError, match=r"none of 3 records can be used; the first, .*bad.jsonl, line 1: "):
        task(kind).examples([written(tmp_path / "bad.jsonl", BAD[kind])], seed=0, skip_bad=True)


def test_files_are_read_once_for_questions_and_shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def watched(*arguments: Any) -> Any:
        opened.append(arguments)
        return records(*arguments)

    monkeypatch.setattr("gptsmith.evaluate.tasks.records", watched)
    prepared = prepare_task(task("generated"), [written(tmp_path / "data.jsonl", GOOD["generated"])], num_shots=2)
    assert (len(opened), len(prepared.prompts)) == (1, 4)


def test_numbers_in_words() -> None:
    known = {
        0: "zero", 12: "twelve", 20: "twenty", 21: "twenty-one", 100: "one hundred", 304: "three hundred and four",
        999: "nine hundred and ninety-nine",
    }  # fmt: skip
    assert {number: in_words(number) for number in known} == known
    assert len({in_words(number) for number in range(1000)}) == 1000


def pair_of(question: str) -> frozenset[str]:
    return frozenset(question.removeprefix("What is ").removesuffix("?").split(" plus "))


def test_sums_are_right_and_no_pair_is_in_two_parts() -> None:
    number_of = {in_words(number): number for number in range(1000)}
    counts = {"train": 4000, "validation": 400, "test": 400}
    made = {split: sums(split, count=count, seed=seed) for seed, (split, count) in enumerate(counts.items())}
    for split, count in counts.items():
        assert len({question for question, _ in made[split]}) == count
        for question, answer in made[split]:
            first, second = question.removeprefix("What is ").removesuffix("?").split(" plus ")
            assert answer == str(number_of[first] + number_of[second])
    pairs = {split: {pair_of(question) for question, _ in rows} for split, rows in made.items()}
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["validation"]
    assert not pairs["validation"] & pairs["test"]
    digits = Counter(len(str(number_of[word])) for pair in pairs["train"] for word in pair)
    assert min(digits[1], digits[2], digits[3]) > 500


def test_the_seed_decides_the_sums(tmp_path: Path) -> None:
    first, again, other = (sums("test", count=20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sums("test", count=5, seed=1) == first[:5]
    write_sums(tmp_path / "sums.jsonl", "test", count=20, seed=1)
    rows = [json.loads(line) for line in (tmp_path / "sums.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["question"], row["answer"]) for row in rows] == first


def test_the_sums_task_needs_no_file_and_asks_the_test_part(tmp_path: Path) -> None:
    prepared = prepare_task(task("arithmetic"), [], limit=20, seed=1)
    generated = sums("test", count=20, seed=1)
    found = [(example.prompt.messages[-1]["content"], example.answer) for example in prepared.examples]
    assert found == generated
    answers = dict(generated)
    assert values(result_of(prepared, lambda prompt: answers[prompt.messages[-1]["content"]])) == {"accuracy": 1.0}
    assert values(result_of(prepared, lambda prompt: "It is -1")) == {"accuracy": 0.0}
    with pytest.raises(UserError, match="makes its own"):
        prepare_task(task("arithmetic"), [tmp_path])
    with pytest.raises(UserError, match="allowed are 1 to"):
        sums("test", count=10**6, seed=0)


def test_shots_are_others_and_the_seed_draws_them(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", questions(9))
    prepared_tasks = [prepare_task(task("multiple_choice"), [data], num_shots=8, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (prepared.prompts for prepared in prepared_tasks)
    assert first == again != other
    for prompt, example in zip(first, prepared_tasks[0].examples, strict=True):
        *shots, last = prompt.text.split("\n\n")
        assert last == example.prompt.text
        assert len(set(shots)) == 8
        assert not any(shot.startswith(example.prompt.text) for shot in shots)
        turns = [message["role"] for message in prompt.messages]
        assert turns == ["user", "assistant"] * 8 + ["user"]
        assert shots[0].startswith(f"Question: {prompt.messages[0]['content']}")
        assert shots[0].endswith(f"Answer: {prompt.messages[1]['content']}")
    with pytest.raises(UserError, match=r"--shots 9.*only 8 examples"):
        prepare_task(task("multiple_choice"), [data], num_shots=9)


def test_what_asks_the_same_is_no_shot(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [*questions(3), questions(1)[0]])
    prepared = prepare_task(task("multiple_choice"), [data], num_shots=2)
    assert all("0: what" not in text for text in (prepared.prompts[0].text.split("\n\n")[:-1]))
    with pytest.raises(UserError, match=r"--shots 3.*only 2 examples"):
        prepare_task(task("multiple_choice"), [data], num_shots=3)


def test_the_limit_draws_by_the_seed_and_shots_come_from_all(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", questions(30))
    first, again, other = (
        prepare_task(task("multiple_choice"), [data], limit=5, num_shots=7, seed=seed) for seed in (1, 1, 2)
    )
    places = [[example.place for example in prepared.examples] for prepared in (first, again, other)]
    assert places[0] == places[1] != places[2]
    assert all(len(some) == 5 for some in places)
    assert all(len(prompt.messages) == 15 for prompt in first.prompts)
    assert len(prepare_task(task("multiple_choice"), [data], limit=99).examples) == 30


def test_shots_of_conversations_keep_the_system_first() -> None:
    system = {"role": "system", "content": "Be brief."}
    prompt, shot = (
        Prompt.from_messages([system, {"role": "user", "content": content}]) for content in ("Who?", "What?")
    )
    after = prompt.with_shots([(shot, "That.")])
    assert [message["content"] for message in after.messages] == ["Be brief.", "What?", "That.", "Who?"]
