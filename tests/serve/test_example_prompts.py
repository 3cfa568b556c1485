"""What the page is told of a run before anybody uses it."""

from __future__ import annotations

import json
from pathlib import Path

import gptsmith
from gptsmith.convert.open import open_model
from gptsmith.serve.example_prompts import first_prompts

from ..workflows.conftest import SMALL

QUICK = ["train.num_steps=2", "train.batch_size=2", "train.evaluate_every_steps=2"]
NUMBERS = ("one", "two", "three", "four", "five")
FILLER = "The old smith bends a plough of steel by the fire in the evening. " * 12


def test_prompts_of_a_base_are_beginnings_from_its_own_texts(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    beginnings = [f"{letter * 9} is how this file begins and it goes on" for letter in "abcde"]
    for number, words in enumerate(beginnings):
        (texts / f"{number}.txt").write_text(f"== 1 ==\n\n{words} for long.\n\n{FILLER}", encoding="utf-8")
    gptsmith.pretrain([texts], out=tmp_path / "run", settings=[*SMALL, *QUICK])
    found = first_prompts(open_model(tmp_path / "run"))
    assert [words[:9] for words in found] == ["aaaaaaaaa", "ccccccccc", "eeeeeeeee"]
    assert all(beginning.startswith(words) for beginning, words in zip(beginnings[::2], found, strict=True))
    for path in texts.iterdir():
        path.unlink()
    texts.rmdir()
    assert first_prompts(open_model(tmp_path / "run")) == found


def test_no_other_file_is_looked_into(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(FILLER * 4, encoding="utf-8")
    gptsmith.pretrain([secret], out=tmp_path / "run", settings=[*SMALL, *QUICK])
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    del data["example_prompts"]
    (tmp_path / "run" / "data.json").write_text(json.dumps(data), encoding="utf-8")
    assert first_prompts(open_model(tmp_path / "run")) == []


def test_prompts_of_one_file_are_from_far_apart_in_it(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Paragraph {word}. {FILLER * 2}" for word in NUMBERS), encoding="utf-8")
    gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SMALL, *QUICK])
    found = first_prompts(open_model(tmp_path / "run"))
    assert [words.split()[1] for words in found] == ["one.", "three.", "five."]


def test_prompts_of_a_chat_model_are_questions_that_were_asked(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(FILLER * 4, encoding="utf-8")
    talk = tmp_path / "talk.jsonl"
    questions = [f"What is number {number}?" for number in range(9)]
    rows = [{"question": question, "answer": "A number."} for question in ["x" * 300, *questions]]
    talk.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    gptsmith.pretrain([text], out=tmp_path / "base", settings=[*SMALL, *QUICK, "model.context_length=400"])
    gptsmith.finetune(tmp_path / "base", [talk], out=tmp_path / "chat", settings=QUICK)
    found = first_prompts(open_model(tmp_path / "chat"))
    learnt = [int(question[-2]) for question in found]  # one of the nine validates, and one tests
    assert found == [questions[number] for number in learnt]
    assert learnt == sorted(learnt)
    assert learnt[2] - learnt[0] >= 6
