"""`gptsmith evaluate`: texts, tasks, two runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.commands.evaluate import show
from gptsmith.evaluate import language_model
from gptsmith.generate import kept_engine
from gptsmith.generate.settings import EngineSettings
from gptsmith.text.chat_template import ChatTemplate, Message
from gptsmith.text.tokenizer import Tokenizer
from tests.dropped_kind import dropped_kind
from tests.workflows.conftest import SMALL, Outcome

Call = Callable[..., Outcome]
NEW = Path(__file__).parents[1] / "evaluate" / "new"
CHOICES = ["iron.", "steel.", "plough."]


@pytest.fixture(scope="module")
def run(trained: dict[str, Any]) -> str:
    return str(trained["run"])


@pytest.fixture(scope="module")
def worse(text: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run on the same text with another tokenizer and one step."""
    out = tmp_path_factory.mktemp("runs") / "worse"
    settings = [*SMALL, "train.num_steps=1", "tokenizer.vocab_size=280"]
    return str(gptsmith.pretrain([text], out=out, settings=settings)["run"])


def written(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def questions(path: Path, count: int = 12) -> Path:
    return written(
        path,
        [{"question": f"Smith {number} bends", "choices": CHOICES, "answer": number % 3} for number in range(count)],
    )


class TestTexts:
    def test_bits_per_byte_has_an_interval(self, run: str, trained: dict[str, Any], call: Call) -> None:
        figures = call("evaluate", run, "--json").object
        assert figures["bits_per_byte"] == pytest.approx(trained["bits_per_byte"], abs=1e-4)
        assert figures["bits_per_byte_low"] < figures["bits_per_byte"] < figures["bits_per_byte_high"]
        assert figures["interval_over"] == "blocks"

    def test_every_token_is_counted_once(self, run: str, call: Call, tmp_path: Path) -> None:
        text = "The old smith forges a nail of iron.\n" * 40
        (tmp_path / "other.txt").write_text(text, encoding="utf-8")
        figures = call("evaluate", run, "other.txt", "--json").object
        tokenizer = gptsmith.load(run).tokenizer
        assert figures["num_tokens"] == len(tokenizer.encode(text)) + 1  # the EOS token after it
        assert figures["num_bytes"] == len(text)

    def test_line_ends_and_encodings_are_no_text(self, run: str, call: Call, tmp_path: Path) -> None:
        text = "The old caf\xe9 sells a nail of iron.\n" * 40
        (tmp_path / "lf.txt").write_bytes(text.encode())
        (tmp_path / "old.txt").write_bytes(text.replace("\n", "\r\n").encode("cp1252"))
        expected = call("evaluate", run, "lf.txt", "--json").object["bits_per_byte"]
        assert call("evaluate", run, "old.txt").code == 2
        assert call("evaluate", run, "old.txt", "--encoding", "cp1252", "--json").object["bits_per_byte"] == expected
        alone = call("evaluate", run, "--encoding", "cp1252")
        assert (alone.code, "is for files to read" in alone.err) == (2, True)

    def test_a_tuned_run_is_judged_on_the_text_that_its_base_held_back(
        self, run: str, call: Call, tmp_path: Path
    ) -> None:
        data = written(tmp_path / "tuned.jsonl", [{"question": "iron", "answer": f"nail {n}"} for n in range(20)])
        settings = ["train.num_steps=2", "train.batch_size=4"]
        tuned = gptsmith.finetune(run, [data], out=tmp_path / "tuned", settings=settings)
        before, after = (call("evaluate", each, "--json").object for each in (run, tuned["run"]))
        assert after["num_tokens"] == before["num_tokens"]
        assert after["bits_per_byte"] == pytest.approx(tuned["general_bits_per_byte"], rel=0.05)

    def test_many_documents_are_what_it_is_over(self, run: str, call: Call, tmp_path: Path) -> None:
        data = written(tmp_path / "many.jsonl", [{"text": f"The old smith bends nail {n}."} for n in range(40)])
        assert call("evaluate", run, data, "--json").object["interval_over"] == "documents"

    def test_the_better_of_two_runs_is_told(self, run: str, worse: str, call: Call) -> None:
        figures = call("evaluate", run, "--against", worse, "--json").object
        found = figures["comparison"]["bits_per_byte"]
        assert found["value"] == figures["bits_per_byte"]
        assert found["against"] == figures["against"]["bits_per_byte"] > found["value"]
        assert figures["against"]["num_bytes"] == figures["num_bytes"]
        assert figures["against"]["num_tokens"] != figures["num_tokens"]
        assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1] < 0
        assert found["p_value"] < 0.01

    def test_a_run_does_not_differ_from_itself(self, run: str, call: Call) -> None:
        found = call("evaluate", run, "--against", run, "--json").object["comparison"]["bits_per_byte"]
        assert (found["difference"], found["difference_interval"], found["p_value"]) == (0, [0, 0], 1)


NEW_TEXTS = [f"A baker number {n} kneads rye with {n} friends who came by boat over the grey sea." for n in range(30)]


class TestContamination:
    def test_documents_that_were_learnt_from_are_counted_and_left_out(
        self, run: str, text: Path, call: Call, tmp_path: Path
    ) -> None:
        known = " ".join((text / "part1.txt").read_text(encoding="utf-8").upper().split()[:40])
        new, mixed = (
            written(tmp_path / name, [{"text": line} for line in lines])
            for name, lines in (("new.jsonl", NEW_TEXTS), ("mixed.jsonl", [*NEW_TEXTS, known]))
        )
        alone, figures = (call("evaluate", run, path, "--json").object for path in (new, mixed))
        found = figures["contamination"]
        assert (found["unit"], found["num_units"], found["num_contaminated"]) == ("document", 31, 1)
        assert alone["contamination"]["num_contaminated"] == 0
        assert found["without_them"]["bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=0.02)
        assert (
            "of 31 documents, 1 have 13 words in a row that it learnt from; without them"
            in call("evaluate", run, mixed).out
        )
        blocks = call("evaluate", run, text / "part1.txt", "--json").object["contamination"]
        assert (blocks["unit"], blocks["num_units"]) == ("block", 100)
        assert blocks["num_contaminated"] > 80

    def test_text_that_is_gone_is_said_and_stops_nothing(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "gone.txt").write_text("\n".join(NEW_TEXTS), encoding="utf-8")
        settings = [*SMALL, "train.num_steps=1"]
        run = gptsmith.pretrain([tmp_path / "gone.txt"], out=tmp_path / "runs" / "gone", settings=settings)["run"]
        (tmp_path / "gone.txt").rename(tmp_path / "other.txt")
        monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "empty"))
        outcome = call("evaluate", run, "other.txt")
        assert outcome.code == 0
        assert "whether it learnt from this is not known: the text of" in outcome.out


class TestTasks:
    def test_choices_with_shots_against_another_run(self, run: str, worse: str, call: Call, tmp_path: Path) -> None:
        asked = [run, questions(tmp_path / "data.jsonl"), "--task", "multiple_choice", "--shots", 1, "--limit", 10]
        figures = call("evaluate", *asked, "--against", worse, "--seed", 3, "--json").object
        assert (figures["run"], figures["task"], figures["num_shots"]) == (run, "multiple_choice", 1)
        assert figures["scores"].keys() == figures["comparison"].keys() == {"accuracy", "normalized_accuracy"}
        score = figures["scores"]["accuracy"]
        assert score["num_examples"] == 10
        assert score["baseline"] == pytest.approx(1 / 3)
        assert score["interval"][0] <= score["value"] <= score["interval"][1]
        found = figures["comparison"]["accuracy"]
        assert found["value"] == score["value"]
        assert found["against"] == figures["against"]["scores"]["accuracy"]["value"]
        again = call("evaluate", *asked, "--against", worse, "--seed", 3, "--json").object
        assert {**again, "seconds": 0} == {**figures, "seconds": 0}

    def test_python_gives_the_same_object(self, run: str, call: Call, tmp_path: Path) -> None:
        data = questions(tmp_path / "data.jsonl")
        said = call("evaluate", run, data, "--task", "multiple_choice", "--json").object
        found = gptsmith.evaluate(run, [data], task="multiple_choice")
        assert {**found, "seconds": 0} == {**said, "seconds": 0}

    def test_labels_are_shown_as_they_are(self, run: str, call: Call, tmp_path: Path) -> None:
        labels = ("[red]", "no_t")
        data = written(tmp_path / "data.jsonl", [{"text": f"nail {n}", "label": labels[n % 2]} for n in range(6)])
        asked = ["evaluate", run, data, "--task", "classification", "--set", "label_names.no_t=iron"]
        figures = call(*asked, "--json").object
        assert figures["labels"] == ["[red]", "iron"]
        assert [sum(row) for row in figures["confusion_matrix"]] == [3, 3]
        shown = call(*asked).out
        assert shown.count("[red]") == 2
        assert "macro F1" in shown

    def test_a_scorer_is_a_setting(self, run: str, call: Call, tmp_path: Path) -> None:
        data = written(tmp_path / "data.jsonl", [{"prompt": "The old smith", "answer": "nothing"}] * 2)
        asked = ["evaluate", run, data, "--task", "generated", "--set", "max_tokens=4", "--json"]
        assert call(*asked).object["scores"]["accuracy"]["value"] == 0
        scored = call(*asked, "--set", "scorer.kind=pattern", "--set", "scorer.pattern=").object
        assert scored["scores"]["accuracy"]["value"] == 1
        assert scored["settings"]["scorer"] == {"kind": "pattern", "pattern": ""}

    def test_the_score_is_the_same_whatever_the_batch(
        self, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = questions(tmp_path / "data.jsonl")

        def scores() -> list[Any]:
            return [
                gptsmith.evaluate(run, [data], task="multiple_choice", shots=1, seed=5)["scores"],
                gptsmith.evaluate(run, task="arithmetic", limit=6, seed=5)["scores"],
            ]

        together = scores()
        scored_one_by_one = partial(language_model.score_continuations, tokens_at_once=1)
        monkeypatch.setattr(language_model, "score_continuations", scored_one_by_one)
        monkeypatch.setattr(kept_engine, "SETTINGS", EngineSettings(max_num_seqs=1))
        assert scores() == together

    def test_sums_need_no_file(self, run: str, call: Call) -> None:
        figures = call("evaluate", run, "--task", "arithmetic", "--limit", 7, "--shots", 1, "--json").object
        assert figures["scores"]["accuracy"]["num_examples"] == 7
        assert figures["num_truncated"] == 7

    def test_a_run_with_a_template_gets_conversations(
        self, run: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []

        class Watched(ChatTemplate):
            def prompt_ids(self, tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
                asked.append(messages)
                return super().prompt_ids(tokenizer, messages)

        monkeypatch.setattr(ChatTemplate, "load", lambda _: Watched())
        call("evaluate", run, questions(tmp_path / "data.jsonl", 3), "--task", "multiple_choice", "--shots", 2)
        assert [message["role"] for message in asked[0]] == ["user", "assistant", "user", "assistant", "user"]

    def test_bad_examples_are_skipped_and_listed(self, run: str, call: Call, tmp_path: Path) -> None:
        data = questions(tmp_path / "data.jsonl", 3)
        data.write_text(data.read_text(encoding="utf-8") + '{"question": "?"}\n{"que', encoding="utf-8")
        asked = ["evaluate", run, data, "--task", "multiple_choice"]
        stopped = call(*asked)
        assert (stopped.code, f"{data}, line 4: expected question, choices" in stopped.err) == (2, True)
        done = call(*asked, "--skip-bad", "--json")
        assert (done.object["scores"]["accuracy"]["num_examples"], "2 bad examples are skipped:" in done.err) == (
            3,
            True,
        )
        assert [each["places"] for each in done.object["skipped_examples"].values()] == [
            [f"{data}, line 4"], [f"{data}, line 5"]
        ]  # fmt: skip
        for odd in ([data], ["--lm-eval", "arc_easy"]):
            refused = call("evaluate", run, *odd, "--skip-bad")
            assert (refused.code, "--skip-bad" in refused.err) == (2, True)

    def test_a_person_gets_tables(self, run: str, worse: str, call: Call, tmp_path: Path) -> None:
        data = questions(tmp_path / "data.jsonl")
        shown = call("evaluate", run, data, "--task", "multiple_choice", "--against", worse).out
        for words in ("accuracy", "0.3333", " to ", "baseline", "p-value", f"against {worse}\n"):
            assert words in shown


def test_a_new_task_is_one_file(run: str, call: Call, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [{"question": f"Is {n} even?", "answer": n % 2 == 0} for n in range(6)])
    with dropped_kind("gptsmith.evaluate.tasks", NEW / "tasks" / "yes_no.py"):
        figures = call("evaluate", run, data, "--task", "yes_no", "--shots", 2, "--json").object
    assert (figures["task"], figures["scores"]["accuracy"]["num_examples"]) == ("yes_no", 6)
    assert call("evaluate", run, data, "--task", "yes_no").code == 2


def test_a_new_scorer_is_one_file(run: str, call: Call, tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", [{"prompt": "The old smith", "answer": "nothing"}] * 2)
    with dropped_kind("gptsmith.evaluate.scorers", NEW / "scorers" / "not_empty.py"):
        figures = call("evaluate", run, data, "--task", "generated", "--set", "scorer=not_empty", "--json").object
    assert figures["settings"]["scorer"] == {"kind": "not_empty"}
    assert figures["scores"]["accuracy"]["value"] == 1


def test_the_other_run_is_looked_for_before_anything_is_computed(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.workflows.evaluate.load", lambda *_, **__: pytest.fail("it was computed"))
    with pytest.raises(gptsmith.UserError, match="nowhere"):
        gptsmith.evaluate(run, task="arithmetic", against="nowhere")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--task", "multiple_choise"], ("no such kind of task: multiple_choise", "did you mean multiple_choice?")),
        (["--task", "multiple_choice"], ("needs files of examples", "question, choices")),
        (["--task", "generated", "--set", "scorer.kind=numbr", "data.jsonl"], ("did you mean number?",)),
        (["--task", "generated", "--set", "scorr=exact", "data.jsonl"], ("setting: scorr", "did you mean scorer?")),
        (["--task", "generated", "--set", "check=exact", "data.jsonl"], ("setting: check", "did you mean scorer?")),
        (["--task", "generated", "--set", "scorer.kind=pattern", "--set", "scorer.pattern=(", "data.jsonl"],
         ("--task generated: scorer", "'(' is not a regular expression")),
        (["--task", "generated", "--set", "scorer=pattern:(", "data.jsonl"], ("'(' is not a regular expression",)),
        (["--task", "multiple_choice", "--shots", "9", "data.jsonl"], ("--shots 9", "only 2 examples", "fewer")),
        (["--task", "multiple_choice", "--shots", "-1", "data.jsonl"], ("at least 0", "-1, from --shots")),
        (["--task", "multiple_choice", "--limit", "0", "data.jsonl"], ("greater than 0", "given: 0, from --limit")),
        (["--task", "multiple_choice", "--against", "nowhere", "data.jsonl"], ("nowhere",)),
        (["--against", "nowhere"], ("nowhere",)),
        (["--task", "classification", "data.jsonl"], ('{"question": "Smith 0 bends"', "expected label, with text;")),
        (["--task", "classification", "choices.jsonl"], ("expected fields of labelled", '"choices": null')),
        (["--task", "classification", "--set", "label_names.god=fine", "labels.jsonl"],
         ("label_names.god", "did you mean good?")),
        (["--task", "multiple_choice", "other.txt"], ("other.txt", "no records in it")),
        (["--task", "multiple_choice", "missing.jsonl"], ("missing.jsonl",)),
        (["--task", "arithmetic", "data.jsonl"], ("makes its own examples",)),
        (["--task", "arithmetic", "--limit", "20000"], ("20000 test sums", "10,000")),
        (["--shots", "2", "--limit", "3"], ("without --task", "--shots and --limit")),
        (["--set", "a=b", "other.txt"], ("without --task", "--set")),
        (["--lm-eval", "x", "--task", "arithmetic", "--against", "y"], ("--lm-eval", "--task and --against")),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    asked: list[str], words: tuple[str, ...], run: str, call: Call, tmp_path: Path
) -> None:
    questions(tmp_path / "data.jsonl", 3)
    written(tmp_path / "labels.jsonl", [{"text": f"nail {label}", "label": label} for label in ("good", "bad")])
    written(tmp_path / "choices.jsonl", [{"question": "?", "choices": None, "label": 1}])
    (tmp_path / "other.txt").write_text("The old smith.", encoding="utf-8")
    outcome = call("evaluate", run, *asked)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert all(word in outcome.err for word in words), outcome.err


def test_figures_for_people_have_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    show({"run": "runs/a", "num_bytes": 1_115_394, "seconds": 200.4, "interval_over": None, "scores": {}})
    said = capsys.readouterr().out
    assert "1.12 MB" in said
    assert "3 min 20 s" in said
    assert "None" not in said
