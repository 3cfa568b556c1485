"""Private training through the verbs: what it claims, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gguf import GGUFReader

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.convert.load import load
from gptsmith.convert.model_card import model_card
from gptsmith.convert.open import open_model
from gptsmith.run.contents import weights
from gptsmith.run.distributed import Processes
from gptsmith.run.folder import PRIVATE_KEY
from gptsmith.run.privacy_claim import CLAIM, claim_in_a_line, claim_of
from gptsmith.train import trainer
from gptsmith.train.private import pace, randomness
from gptsmith.train.private.accountant import epsilon
from gptsmith.train.request import PretrainRequest
from gptsmith.train.resolve import resolve_settings
from gptsmith.train.tuning_start import shared
from tests.workflows.conftest import FLOAT32

STEPS, BATCH, EXAMPLES = 4, 12, 120
SECRET = "zq7"
SETTINGS = [FLOAT32, "train.evaluate_every_steps=2", "train.sample_every_steps=1"]


def conversations(path: Path, count: int = EXAMPLES) -> Path:
    turns = [(f"{SECRET}{number}", f"{number}") for number in range(count)]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conversations(tmp_path_factory.mktemp("private") / "chats.jsonl")


def tune(base: Any, data: Path, out: Path, **more: Any) -> dict[str, Any]:
    arguments = {"private": 8.0, "lora": 2, "max_steps": STEPS, "batch_size": BATCH, "out": out, **more}
    with no_ordinary_step():
        return gptsmith.finetune(base, [data], settings=[*SETTINGS, *arguments.pop("settings", [])], **arguments)


@contextmanager
def no_ordinary_step() -> Iterator[None]:
    """Fails where a step without noise is taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_step", lambda *_: pytest.fail("a step without noise"))
        yield


@pytest.fixture(scope="module", autouse=True)
def same_key() -> Iterator[None]:
    """Runs of the same noise, to compare them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness.secrets, "token_bytes", lambda count: b"k" * count)
        yield


@pytest.fixture(scope="module")
def tuned(trained: dict[str, Any], data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tuned")
    public = folder / "public.jsonl"
    public.write_text(data.read_text(encoding="utf-8").replace(SECRET, "nails")[:2000].rpartition("\n")[0])
    return tune(trained["run"], data, folder / "run", validation=[public])


def test_the_result_claims_the_epsilon_that_its_steps_spend(tuned: dict[str, Any]) -> None:
    claimed = tuned["private"]
    assert claimed == read_json(Path(tuned["run"]) / "result.json")["private"]
    rate, delta = BATCH / EXAMPLES, 1 / (10 * EXAMPLES)
    expected = {"sampling_rate": rate, "delta": delta, "num_steps": STEPS, "clip_norm": 1.0, "unit": "example"}
    assert {name: claimed[name] for name in expected} == expected
    assert claimed["epsilon"] == epsilon(claimed["noise_multiplier"], rate, STEPS, delta)
    assert 7.9 < claimed["epsilon"] <= 8
    assert (tuned["status"], tuned["best_step"]) == ("finished", STEPS)
    assert "Differentially private: epsilon" in Path(tuned["run"], "report.html").read_text(encoding="utf-8")


def test_the_run_keeps_no_key_no_loss_and_no_text_of_the_private_data(tuned: dict[str, Any]) -> None:
    folder = Path(tuned["run"])
    assert not (folder / PRIVATE_KEY).exists()
    assert read_json(folder / "data.json")["example_prompts"] == []
    metrics = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"sample"' not in metrics
    assert "train_loss" not in metrics + (folder / "result.json").read_text(encoding="utf-8")
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"minutes": 1.0, "max_steps": None}, "takes no --minutes"),
        ({"trials": 2}, "takes no --trials"),
        ({"settings": ["train.target_loss=1"]}, "takes no train.target_loss"),
        ({"settings": ["train.patience_evaluations=2"]}, "takes no train.patience_evaluations"),
        ({"settings": ["train.max_forgetting=0.1"]}, "takes no train.max_forgetting"),
        ({"settings": ["train.min_kept_answers=0.9"]}, "takes no train.min_kept_answers"),
        ({"settings": ["examples.validation_fraction=0.1"]}, "takes no examples.validation_fraction"),
        ({"settings": ["examples.test_fraction=0.1"]}, "takes no examples.test_fraction"),
        ({"settings": ["data.validation_fraction=0.1"]}, "takes no data.validation_fraction"),
        ({"private": None, "settings": ["train.private.epsilon=8"]}, "takes no data.validation_fraction"),
        ({"batch_size": 500}, "more than the 120 examples"),
        ({"settings": ["train.private.noise_multiplier=0.3"]}, "spend an epsilon of"),
        ({"private": 0.0}, "private: must be greater than 0"),
        ({"private": -1.0}, "private: must be greater than 0"),
        ({"private": float("nan")}, "private: must be"),
        ({"private": float("inf")}, "private: must be a finite number"),
    ],
)
def test_what_would_break_the_claim_is_refused(
    given: dict[str, Any], words: str, trained: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        tune(trained["run"], data, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_private_is_refused(trained: dict[str, Any], tmp_path: Path) -> None:
    few = conversations(tmp_path / "few.jsonl", 40)
    with pytest.raises(UserError, match="at least 100 examples, and there are 40"):
        tune(trained["run"], few, tmp_path / "run", batch_size=5)
    labelled = tmp_path / "labelled.jsonl"
    rows = [{"text": f"nail {number}", "label": ["old", "new"][number % 2]} for number in range(120)]
    labelled.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(UserError, match="takes no labels from the examples"):
        tune(trained["run"], labelled, tmp_path / "run")
    own = tmp_path / "own"
    own.mkdir()
    for name in ("train", "validation"):
        conversations(own / f"{name}.jsonl")
    with pytest.raises(UserError, match="belongs to the private data"):
        tune(trained["run"], own, tmp_path / "run")
    for name in ("validation", "test"):
        with pytest.raises(UserError, match="is private data itself"):
            tune(trained["run"], own / "train.jsonl", tmp_path / "run", **{name: [own / "validation.jsonl"]})


def test_weights_that_overflow_end_the_run_with_words(trained: dict[str, Any], data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training diverged at step"):
        tune(trained["run"], data, tmp_path / "run", settings=["train.optimizer.learning_rate=1e38"])


class StopAfter(gptsmith.Callback):
    """Stops a run as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Any, step: Any, seconds: float) -> None:
        if trainer.state.step == self.step:
            trainer.end("stopped")


def test_a_stopped_run_claims_its_steps_and_resumes_to_the_same_weights(
    trained: dict[str, Any], tuned: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    stopped = tune(trained["run"], data, folder, callbacks=[StopAfter(2)])
    assert stopped["private"]["num_steps"] == 2
    assert stopped["private"]["epsilon"] < tuned["private"]["epsilon"]
    assert gptsmith.info(folder)["private"] == stopped["private"], "what is served before it is resumed"
    assert claim_in_a_line(stopped["private"]) in model_card(load(folder), "stopped")
    assert claim_in_a_line(stopped["private"]) in (folder / "report.html").read_text(encoding="utf-8")
    for change, words in (
        ("train.num_steps=40", "spend an epsilon of"),
        ("train.private.noise_multiplier=9", "keeps its original settings"),
        ("train.target_loss=1", "takes no train.target_loss"),
    ):
        with pytest.raises(UserError, match=words):
            gptsmith.finetune(resume=folder, settings=[change])
    key = (folder / PRIVATE_KEY).read_bytes()
    (folder / PRIVATE_KEY).unlink()
    with pytest.raises(UserError, match="the key of its noise, is gone"):
        gptsmith.finetune(resume=folder)
    (folder / PRIVATE_KEY).write_bytes(key)
    resumed = gptsmith.finetune(resume=folder)
    assert resumed["private"] == tuned["private"] == gptsmith.info(folder)["private"]
    assert not (folder / CLAIM).exists(), "one truth for each fact"
    one, other = (weights(gptsmith.load(figures["run"]).model) for figures in (tuned, resumed))
    for name in one.keys() | other.keys():
        assert torch.equal(one[name], other[name])


def test_the_plan_says_how_loud_the_noise_is_and_what_helps(
    trained: dict[str, Any], data: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "ENOUGH_S", 0.01)
    steps = ["--set", f"train.num_steps={STEPS}", "--set", f"train.batch_size={BATCH}"]
    outcome = call("plan", trained["run"], data, "--private", 8, "--json", *steps)
    planned = outcome.object
    assert planned["num_units"] == EXAMPLES
    assert planned["noise_to_signal"] == pytest.approx(
        planned["noise_multiplier"] * planned["num_trained_parameters"] ** 0.5 / BATCH
    )
    assert "there is no hope to learn anything. Better: --lora 4" in planned["advice"][0]
    assert planned["seconds"] == pytest.approx(planned["num_steps"] * planned["seconds_per_step"])
    assert planned["tokens_per_second"] > 0 < planned["peak_memory_bytes"]


TINY = [FLOAT32, "model.embed_dim=32", "model.num_layers=1", "model.context_length=96", "train.evaluate_every_steps=2"]
CANARIES = 4


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "letters.jsonl"
    lines = [f"{SECRET} sends {number} nails to the smith, who forges a plough of them." for number in range(EXAMPLES)]
    rows = [{"text": line} for line in lines]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def begin(documents: Path, out: Path, **more: Any) -> dict[str, Any]:
    usual = {"private": 8.0, "tokenizer": "bytes", "max_steps": STEPS, "batch_size": BATCH, "canaries": CANARIES}
    arguments = {**usual, "out": out, **more}
    with no_ordinary_step():
        return gptsmith.pretrain([documents], settings=[*TINY, *arguments.pop("settings", [])], **arguments)


@pytest.fixture(scope="module")
def new(documents: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return begin(documents, tmp_path_factory.mktemp("new") / "run", validation=[text / "part0.txt"])


def test_a_new_model_claims_its_epsilon_for_each_document(new: dict[str, Any]) -> None:
    claimed = new["private"]
    assert (claimed["unit"], claimed["sampling_rate"], claimed["num_steps"]) == ("document", BATCH / EXAMPLES, STEPS)
    assert 7.9 < claimed["epsilon"] <= 8
    assert new["best_step"] == STEPS
    for path in Path(new["run"]).rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tokenizer": None}, "takes no bpe tokenizer of the private text"),
        ({"tokenizer": "characters"}, "takes no characters tokenizer of the private text"),
        ({"minutes": 1.0, "max_steps": None}, "takes no --minutes"),
        ({"target_loss": 1.0}, "takes no train.target_loss"),
        ({"settings": ["data.validation_fraction=0.1"]}, "takes no data.validation_fraction"),
        ({"private": None, "settings": ["train.private.epsilon=8"]}, "takes no data.validation_fraction"),
        ({"settings": ["train.objective.kind=goldfish"]}, "cannot train with the objective goldfish"),
    ],
)
def test_what_would_tell_of_the_text_of_a_new_model_is_refused(
    given: dict[str, Any], words: str, documents: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        begin(documents, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_new_model_of_few_documents_is_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 100 documents, and there are 3"):
        begin(text, tmp_path / "run", batch_size=2)


def test_a_stopped_new_model_resumes_alone_and_to_the_same_weights(
    documents: Path, text: Path, new: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    begin(documents, folder, validation=[text / "part0.txt"], callbacks=[StopAfter(2)])
    with pytest.raises(UserError, match="give --resume alone"):
        gptsmith.pretrain(resume=folder, tokens=50_000)
    with pytest.raises(UserError, match="spend an epsilon of"):
        gptsmith.pretrain(resume=folder, settings=["train.num_steps=40"])
    resumed = gptsmith.pretrain(resume=folder)
    assert resumed["private"] == new["private"]
    one, other = (weights(gptsmith.load(figures["run"]).model) for figures in (new, resumed))
    for name in one.keys() | other.keys():
        assert torch.equal(one[name], other[name])


def test_the_plan_of_a_new_model_points_to_a_public_one(documents: Path) -> None:
    settings = [*TINY, f"train.num_steps={STEPS}"]
    planned = gptsmith.plan([documents], private=8.0, tokenizer="bytes", batch_size=BATCH, settings=settings)
    assert (planned["unit"], planned["num_units"]) == ("document", EXAMPLES)
    assert "Better: LoRA on a public model" in planned["advice"][0]


def test_what_is_made_of_the_weights_alone_keeps_their_claim(tuned: dict[str, Any], tmp_path: Path) -> None:
    merged = gptsmith.merge(tuned["run"], out=tmp_path / "merged")
    smaller = gptsmith.compress(merged["run"], to="q8_0", out=tmp_path / "smaller")
    assert smaller["private"] == merged["private"] == tuned["private"]
    assert gptsmith.info(smaller["run"])["private"] == tuned["private"]
    card = model_card(load(smaller["run"]), "smaller")
    assert claim_in_a_line(tuned["private"]) in card
    assert "one example of the training data" in card
    exported = gptsmith.export(smaller["run"], to="gguf", out=tmp_path / "exported")
    fields = GGUFReader(Path(exported["folder"]) / "model.gguf").fields
    assert fields["general.description"].contents() == f"{claim_in_a_line(tuned['private'])}."
    assert {name: fields[f"gptsmith.private.{name}"].contents() for name in tuned["private"]} == tuned["private"]
    assert open_model(exported["folder"]).result() is None


class Killed(gptsmith.Callback):
    def after_step(self, trainer: Any, step: Any, seconds: float) -> None:
        raise RuntimeError("killed")


def test_a_run_that_did_not_get_to_its_end_claims_no_less_than_it_spends(
    trained: dict[str, Any], tuned: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        tune(trained["run"], data, tmp_path / "run", callbacks=[Killed()])
    assert claim_of(tmp_path / "run", None) == tuned["private"], "that of all its steps"


def test_what_has_read_the_private_data_before_is_no_base(
    trained: dict[str, Any], data: Path, documents: Path, text: Path, tmp_path: Path
) -> None:
    """By the name of a file, by its documents in another file, by its own base, by examples, by what it was calibrated
    on and by its tokenizer."""

    def tuned_without_noise(base: Any, source: Path, **more: Any) -> dict[str, Any]:
        return gptsmith.finetune(base, [source], out=tmp_path / source.stem, max_steps=1, batch_size=2, **more)

    lines = documents.read_text(encoding="utf-8").splitlines()
    longer, other = tmp_path / "longer.jsonl", tmp_path / "other.jsonl"
    longer.write_text("\n".join([*lines, '{"text": "A letter more."}']), encoding="utf-8")
    other.write_text("\n".join(f'{{"text": "The smith sleeps {night} nights."}}' for night in range(60)))
    reader = tuned_without_noise(trained["run"], documents, objective="next_token")
    after = tuned_without_noise(reader["run"], other, objective="next_token", settings=["data.validation_fraction=0"])
    answerer = tuned_without_noise(trained["run"], data)
    smaller = gptsmith.compress(trained["run"], to="q8_0", text=[other], out=tmp_path / "smaller")
    for base, private, words in (
        (trained["run"], text, f"{trained['run']} has read {text}.*already"),
        (reader["run"], documents, f"{reader['run']} has read {documents} already"),
        (reader["run"], longer, f"{reader['run']} has read 120 of these documents already"),
        (after["run"], longer, f"{reader['run']} has read 120 of these documents already"),
        (answerer["run"], data, f"{answerer['run']} has read {data} already"),
        (smaller["run"], other, f"{smaller['run']} has read {other} already"),
    ):
        with pytest.raises(UserError, match=words):
            tune(base, private, tmp_path / "run", **({"objective": "next_token"} if private != data else {}))
    for tokenizer in (Path(reader["run"]), Path(reader["run"]) / "tokenizer.json"):
        with pytest.raises(UserError, match=r"has read .* already"):
            begin(longer, tmp_path / "run", tokenizer=tokenizer)
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused(documents: Path) -> None:
    request = PretrainRequest(sources=[documents], private=8.0, tokenizer="bytes", batch_size=BATCH)
    with pytest.raises(UserError, match="--private trains in one process: leave torchrun out"):
        resolve_settings(request, Processes(world_size=2))
    job: Any = SimpleNamespace(is_private=True, settings=None)
    with pytest.raises(UserError, match="--private trains in one process: leave torchrun out"):
        shared(job, {}, Processes(world_size=2))


def test_an_audit_measures_no_more_than_is_claimed(new: dict[str, Any]) -> None:
    found = gptsmith.audit([new["run"]])
    assert found["canaries"]["num"] == CANARIES
    assert found["epsilon_claimed"] == new["private"]["epsilon"]
    assert found["epsilon_lower"] <= found["epsilon_claimed"]
    assert found["delta"] == new["private"]["delta"]
    assert any("which agrees with it" in line for line in found["remarks"])
    assert any(line.startswith("Differentially private: epsilon") for line in found["remarks"])


def test_no_later_training_reads_the_private_text_without_noise(new: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was trained privately"):
        gptsmith.compress(new["run"], to="q8_0", heal_minutes=0.1, out=tmp_path / "smaller")
    with pytest.raises(UserError, match="leave --text out"):
        gptsmith.compress(new["run"], to="q8_0", text=[tmp_path], out=tmp_path / "smaller")
