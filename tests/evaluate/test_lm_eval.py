"""Our models in lm-eval, against lm-eval's own model of Transformers with the same weights."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import gptsmith
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.cli import main
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import EOS_TOKEN, Tokenizer
from gptsmith.text.tokenizers import KINDS

pytest.importorskip("lm_eval")
from lm_eval import evaluator, simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from gptsmith.evaluate import lm_eval as adapter
from gptsmith.evaluate.lm_eval import LmEvalModel, run_lm_eval
from gptsmith.evaluate.lm_eval_samples import task_samples
from gptsmith.evaluate.quiet import quiet

CONTEXT, WIDTH, LAYERS, HEADS = 32, 48, 2, 4
TEXT = "The old smith forges a nail of iron. The young smith bends a plough of steel, and sells it. "
QUESTIONS = [
    {"question": f"What does the {who} smith {verb}?", "choices": ["a nail", "a sword of steel", "it"], "right": right}
    for who in ("old", "young", "tall")
    for right, verb in enumerate(["forge", "bend", "sell"])
]
DOCUMENTS = [{"text": TEXT * count} for count in (1, 2, 5)]
PAIRS = [
    ("The old smith", " forges a nail"),
    ("The old smith ", "forges"),
    ("", "The young smith sells it."),
    (TEXT * 4, " The old smith"),
    ("a", " plough"),
    ("The old smith", " sells"),
]


def our_weights(theirs: GPT2LMHeadModel) -> dict[str, torch.Tensor]:
    """GPT-2's weights under our names: it keeps matrices transposed, and one for q, k and v together."""
    state = theirs.state_dict()
    ours = {
        "embedding.weight": state["transformer.wte.weight"],
        "head.weight": state["transformer.wte.weight"],
        "position.embedding.weight": state["transformer.wpe.weight"],
    }
    for part in ("weight", "bias"):
        ours[f"final_norm.{part}"] = state[f"transformer.ln_f.{part}"]
        for layer in range(LAYERS):
            there, here = f"transformer.h.{layer}", f"blocks.{layer}"
            pieces = state[f"{there}.attn.c_attn.{part}"].chunk(3, dim=-1)
            matrices = dict(zip(("attention.query", "attention.key", "attention.value"), pieces, strict=True))
            matrices["attention.output"] = state[f"{there}.attn.c_proj.{part}"]
            matrices["feedforward.input"] = state[f"{there}.mlp.c_fc.{part}"]
            matrices["feedforward.output"] = state[f"{there}.mlp.c_proj.{part}"]
            ours |= {f"{here}.{name}.{part}": matrix.t() for name, matrix in matrices.items()}
            ours[f"{here}.attention_norm.{part}"] = state[f"{there}.ln_1.{part}"]
            ours[f"{here}.feedforward_norm.{part}"] = state[f"{there}.ln_2.{part}"]
    return ours


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return KINDS.validate({"kind": "bpe", "vocab_size": 300}).train(lambda: [TEXT * 20], 20 * len(TEXT))


@pytest.fixture(scope="module")
def theirs(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    shape = {"n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    ends = dict.fromkeys(["bos_token_id", "eos_token_id"], tokenizer.eos_token_id)
    config = GPT2Config(vocab_size=tokenizer.vocab_size, **shape, **ends)
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    words = PreTrainedTokenizerFast.from_pretrained(folder, pad_token=EOS_TOKEN)
    return HFLM(pretrained=model, tokenizer=words, backend="causal", max_length=CONTEXT, batch_size=2, device="cpu")


@pytest.fixture
def language_model(theirs: HFLM, tokenizer: Tokenizer) -> LanguageModel:
    shape = {"context_length": CONTEXT, "embed_dim": WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
    model = GPT(preset("gpt2", **shape, vocab_size=tokenizer.vocab_size))
    model.load_state_dict(our_weights(theirs.model))
    return LanguageModel(model.eval(), tokenizer, None)


@pytest.fixture
def ours(language_model: LanguageModel) -> LmEvalModel:
    return LmEvalModel(language_model, seed=0)


def requests(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


def test_the_tokens_are_the_same(ours: LmEvalModel, theirs: HFLM) -> None:
    assert ours.tok_encode(TEXT) == theirs.tok_encode(TEXT)
    assert len(ours.tok_encode(TEXT * 4)) > CONTEXT
    assert ours.prefix_token_id == theirs.prefix_token_id


def test_log_likelihoods_are_those_of_transformers(ours: LmEvalModel, theirs: HFLM) -> None:
    found, expected = (model.loglikelihood(requests("loglikelihood", PAIRS)) for model in (ours, theirs))
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_what_transformers_writes_greedily_is_greedy(ours: LmEvalModel, theirs: HFLM, tokenizer: Tokenizer) -> None:
    context = tokenizer.encode("The old smith")
    written = theirs.model.generate(torch.tensor([context]), max_new_tokens=5, do_sample=False, pad_token_id=0)[0]
    continuation = written[len(context) :].tolist()
    others = [*continuation[:-1], (continuation[-1] + 1) % tokenizer.vocab_size]
    found = ours._loglikelihood_tokens([(("", ""), context, each) for each in (continuation, others)])
    assert [greedy for _, greedy in found] == [True, False]


def test_whole_texts_are_as_probable_as_in_transformers(ours: LmEvalModel, theirs: HFLM) -> None:
    texts = [(TEXT,), (TEXT * 5,), ("a",), ("",)]
    found, expected = (
        model.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) for model in (ours, theirs)
    )
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[-1] == 0


WAYS = [
    {"until": ["smith"], "max_gen_toks": 12},
    {"until": "e", "max_gen_toks": 16, "do_sample": False},
    {"until": [], "max_gen_toks": 8},
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_what_transformers_writes(way: dict[str, Any], ours: LmEvalModel, theirs: HFLM) -> None:
    contexts = ["The old smith", "a", TEXT * 3, "The young smith sells"]
    alone = [requests("generate_until", [(context, dict(way))]) for context in contexts]
    together = requests("generate_until", [(context, dict(way)) for context in contexts])
    expected = [theirs.generate_until(one)[0] for one in alone]
    assert ours.generate_until(together) == expected
    assert len(set(expected)) > 1


def test_a_stop_string_is_one_string(ours: LmEvalModel) -> None:
    def text(until: Any) -> str:
        (request,) = requests("generate_until", [("The old smith", {"until": until, "max_gen_toks": 16})])
        return ours.generate_until([request])[0]

    whole = text(None)
    stop = whole[4:6]
    assert len(stop) == 2
    assert text(whole[0] + "never") == whole
    assert text(stop) == text([stop]) == text(["never", stop, ""]) == whole.partition(stop)[0]


def test_nothing_is_computed_after_a_stop_string(ours: LmEvalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = ours.model.model, []
    hidden = model.hidden

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return hidden(*arguments, **options)

    monkeypatch.setattr(model, "hidden", counted)
    way = {"until": [], "max_gen_toks": 16}
    (whole,) = ours.generate_until(requests("generate_until", [("The old smith", way)]))
    # Speculative decoding may accept several tokens per pass.
    num_passes = len(passes)
    assert 0 < num_passes <= 16
    ours.generate_until(requests("generate_until", [("The old smith", way | {"until": [whole[2:4]]})]))
    assert len(passes) - num_passes < num_passes / 2


def test_how_it_is_drawn_is_the_tasks_to_say(ours: LmEvalModel) -> None:
    def texts(**way: Any) -> list[str]:
        return ours.generate_until(requests("generate_until", [("The old smith", {"max_gen_toks": 12, **way})] * 3))

    greedy = texts()
    assert len(set(greedy)) == 1
    assert texts(temperature=0.0) == texts(temperature=5.0, do_sample=False) == greedy
    drawn = texts(temperature=5.0)
    assert drawn == texts(temperature=5.0, do_sample=True)
    assert len(set(drawn)) == 3
    assert texts(temperature=5.0, top_k=1) == greedy
    ours.seed = 1
    assert texts(temperature=5.0) != drawn


def test_a_way_of_drawing_that_there_is_not_is_refused(ours: LmEvalModel) -> None:
    with pytest.raises(UserError, match=r"generation_kwargs.*num_beams"):
        ours.generate_until(requests("generate_until", [("The old smith", {"num_beams": 4})]))
    with pytest.raises(UserError, match="generation_kwargs: top_p"):
        ours.generate_until(requests("generate_until", [("The old smith", {"temperature": 1.0, "top_p": 2.0})]))


def test_each_request_gets_its_own_way_and_place(ours: LmEvalModel) -> None:
    arguments = [(context, way) for context in ("The old", "a nail") for way in WAYS]
    expected = [ours.generate_until(requests("generate_until", [each]))[0] for each in arguments]
    assert ours.generate_until(requests("generate_until", arguments)) == expected


def test_blanks_alone_are_no_context(ours: LmEvalModel) -> None:
    blank, empty = ours.loglikelihood(requests("loglikelihood", [("  ", "nail"), ("", "  nail")]))
    assert blank == pytest.approx(empty)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tasks over files beside them."""
    found = tmp_path / "tasks"
    found.mkdir()
    tasks: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "smiths": (
            QUESTIONS,
            {
                "output_type": "multiple_choice",
                "doc_to_text": "{{question}}",
                "doc_to_choice": "{{choices}}",
                "doc_to_target": "{{right}}",
                "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            },
        ),
        "smith_texts": (
            DOCUMENTS,
            {
                "output_type": "loglikelihood_rolling",
                "doc_to_text": "",
                "doc_to_target": "{{text}}",
                "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
            },
        ),
        "smith_words": (
            QUESTIONS,
            {
                "output_type": "loglikelihood",
                "doc_to_text": "{{question}}",
                "doc_to_target": " {{choices[0]}}",
                "metric_list": [{"metric": "perplexity"}],
            },
        ),
        "smith_answers": (
            QUESTIONS,
            {
                "output_type": "generate_until",
                "doc_to_text": "{{question}}",
                "doc_to_target": "{{choices[right]}}",
                "generation_kwargs": {"until": ["."], "max_gen_toks": 8},
                "metric_list": [{"metric": "exact_match"}],
            },
        ),
    }
    for name, (records, settings) in tasks.items():
        data = found / f"{name}.jsonl"
        data.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        files = {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")}
        # JSON is YAML.
        task = {"task": name, "dataset_path": "json", "dataset_kwargs": files, "test_split": "test", **settings}
        (found / f"{name}.yaml").write_text(json.dumps(task | {"fewshot_split": "test"}), encoding="utf-8")
    return found


def refuse_the_network(*_: Any, **__: Any) -> None:
    raise ConnectionError("a test asked\nfor the network")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", refuse_the_network)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_the_network)


def measured(language_model: LanguageModel, task: str, folder: Path, **settings: Any) -> dict[str, Any]:
    found, samples = run_lm_eval(
        language_model, task, folder=folder, **{"num_shots": None, "limit": None, "seed": 0, **settings}
    )
    assert found["lm_eval"] == task
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    result: dict[str, Any] = found["results"][task]
    assert [len(some.texts) for some in samples.values()] == [result["num_examples"]]
    return result


@pytest.mark.parametrize(
    ("task", "num_shots", "limit"),
    [("smiths", 2, None), ("smiths", 0, 4), ("smith_texts", 0, 2), ("smith_words", 2, None)],
)
def test_figures_are_those_of_transformers(
    task: str,
    num_shots: int,
    limit: int | None,
    language_model: LanguageModel,
    theirs: HFLM,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measured(language_model, task, folder, num_shots=num_shots, limit=limit, seed=5)
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    expected = simple_evaluate(
        model=theirs,
        tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=num_shots,
        limit=limit,
        bootstrap_iters=adapter.NUM_RESAMPLES,
        fewshot_random_seed=5,
    )
    assert found["num_examples"] == (limit or len(QUESTIONS))
    figures = {name: value for name, value in expected["results"][task].items() if "," in name}
    assert len(figures) >= 2
    for name, value in figures.items():
        assert found[name] == (None if value == "N/A" else pytest.approx(value, rel=1e-4)), name


def test_the_standard_error_is_the_formulas(language_model: LanguageModel, folder: Path) -> None:
    found = measured(language_model, "smiths", folder)
    share, count = found["acc,none"], len(QUESTIONS)
    assert share * count == pytest.approx(round(share * count))
    assert found["acc_stderr,none"] == pytest.approx((share * (1 - share) / (count - 1)) ** 0.5)


@pytest.mark.parametrize("task", ["smiths", "smith_texts", "smith_words", "smith_answers"])
def test_nothing_is_said_drawn_or_left(
    task: str,
    language_model: LanguageModel,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def states() -> list[Any]:
        return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]

    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    before = states()
    first = measured(language_model, task, folder)
    assert states() == before
    random.random(), np.random.random(), torch.rand(1)
    assert measured(language_model, task, folder) == first
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_no_other_program_is_started(
    language_model: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        started.append(arguments)
        raise OSError("another program was asked for")

    for name in ("multiprocessing.Pool", "subprocess.Popen"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.delenv("DISABLE_MULTIPROC", raising=False)
    before = dict(os.environ), evaluator.get_git_commit_hash, evaluator.add_env_info
    assert measured(language_model, "smith_words", folder)["perplexity_stderr,none"] > 0
    assert (dict(os.environ), evaluator.get_git_commit_hash, evaluator.add_env_info) == before
    assert started == []


def test_figures_are_json_values() -> None:
    values = [np.float32(0.5), np.int64(2), 0.25, "N/A", math.nan, np.float64("inf")]
    assert [adapter._plain(value) for value in values] == [0.5, 2.0, 0.25, None, None, None]
    assert {type(adapter._plain(value)) for value in values[:3]} == {float}


def test_bad_input_is_one_line(language_model: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(task: str, folder: Path) -> str:
        with pytest.raises(UserError) as caught:
            measured(language_model, task, folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    # Without the thousands of its own, which take it seconds to read.
    own = TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr(adapter, "TaskManager", lambda **_: own)
    assert "did you mean smiths?" in error("smith", folder)
    assert "no such folder" in error("smiths", folder / "nowhere")
    assert "lm-eval ls tasks" in error("%%%%", folder)
    (folder / "smiths.jsonl").write_text("no JSON", encoding="utf-8")
    assert "the data of smiths (JSON parse error" in error("smiths", folder)
    (folder / "smiths.jsonl").unlink()
    assert "the data of smiths (Unable to find" in error("smiths", folder)
    monkeypatch.setattr("datasets.load_dataset", refuse_the_network)
    assert "huggingface.co" in error("smith_texts", folder)


@pytest.mark.story
def test_the_tasks_of_lm_eval_are_there_beside_the_folders(folder: Path) -> None:
    assert {"smiths", "hellaswag", "wikitext"} <= set(adapter._task_manager("hellaswag", folder).all_tasks)


def test_conversations_are_laid_out_by_the_template(language_model: LanguageModel, folder: Path) -> None:
    language_model.template = template = ChatTemplate()
    chat, tokenizer = LmEvalModel(language_model, seed=0), language_model.tokenizer
    turns = [{"role": "user", "content": "What does the old smith forge?<|im_end|>"}]
    prompt = template.prompt_ids(tokenizer, turns)
    text = chat.apply_chat_template(turns)
    assert chat._encode_pair(text, " a nail") == (prompt, tokenizer.encode(" a nail"))
    assert prompt.count(tokenizer.special_tokens["<|im_end|>"]) == 1
    begun = chat.apply_chat_template([*turns, {"role": "assistant", "content": "A"}], add_generation_prompt=False)
    assert chat.tok_encode(begun) == [*prompt, *tokenizer.encode("A")]
    conversed = measured(language_model, "smith_words", folder)
    language_model.template = None
    assert measured(language_model, "smith_words", folder)["perplexity,none"] != conversed["perplexity,none"]


def test_progress_is_shown(
    language_model: LanguageModel, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptsmith.base.console.PLAIN_LINE_EVERY_S", 0.0)
    measured(language_model, "smiths", folder)
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("scoring: ") for line in lines)
    assert lines[-1] == "scoring: 100%"
    model = LmEvalModel(language_model, seed=0)
    with quiet():
        model.generate_until(requests("generate_until", [("The old smith", way) for way in WAYS[:2]]))
    assert capfd.readouterr().err.splitlines() == ["generating: 50%", "generating: 100%"]


def test_an_error_leaves_things_as_they_were(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    state = random.getstate()

    @quiet()
    def fail() -> None:
        random.seed(1)
        warnings.warn("not heard", stacklevel=1)
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (logging.root.manager.disable, random.getstate()) == (logging.NOTSET, state)
    print("heard")
    assert capfd.readouterr().out == "heard\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text((TEXT + "\n") * 100, encoding="utf-8")
    shape = ["model.embed_dim=32", "model.num_layers=1", f"model.context_length={CONTEXT}", "tokenizer.vocab_size=300"]
    gptsmith.pretrain([folder / "text.txt"], out=folder / "run", settings=[*shape, "train.num_steps=2"])
    return folder / "run"


def test_the_command_measures_a_run(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*more: str) -> str:
        arguments = ["evaluate", str(run), "--lm-eval", "smiths", "--lm-eval-path", str(folder), *more]
        monkeypatch.setattr(sys, "argv", ["gptsmith", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return capsys.readouterr().out

    found = json.loads(call("--limit", "4", "--shots", "1", "--seed", "3", "--json"))
    loaded = gptsmith.load(run)
    language_model = LanguageModel(loaded.model, loaded.tokenizer, None)
    assert found["results"]["smiths"] == measured(language_model, "smiths", folder, limit=4, num_shots=1, seed=3)
    assert (found["run"], found["step"]) == (str(run), loaded.run.step)
    assert "acc,none" in call()


def test_contamination_is_said_of_tasks_of_lm_eval(run: Path, folder: Path) -> None:
    learnt = {"question": TEXT, "choices": ["a", "b"], "right": 0}
    with (folder / "smiths.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(learnt) + "\n")
    found = gptsmith.evaluate(run, lm_eval="smiths", lm_eval_path=folder)
    (contamination, results) = found["contamination"], found["results"]["smiths"]
    assert {name: contamination[name] for name in ("unit", "num_units", "num_contaminated", "missing")} == {
        "unit": "example",
        "num_units": len(QUESTIONS) + 1,
        "num_contaminated": 1,
        "missing": [],
    }
    assert set(contamination["without_them"]) == {"acc,none", "acc_norm,none"}
    for name, value in contamination["without_them"].items():
        of_all = results[name] * (len(QUESTIONS) + 1)
        assert value * len(QUESTIONS) == pytest.approx(of_all) or value * len(QUESTIONS) == pytest.approx(of_all - 1)


def test_samples_are_counted_once_and_metrics_are_means() -> None:
    rows = [("strict", 0, 1.0), ("strict", 1, 0.0), ("loose", 0, 1.0), ("loose", 1, 1.0)]
    samples = [
        {"filter": name, "doc": {"a": f"q{n}", "b": [{"c": "x"}], "d": 3}, "acc": acc, "pair": (1, 2), "f1": acc}
        for name, n, acc in rows
    ]
    found = task_samples(samples, {"acc,strict": 0.5, "acc,loose": 1.0, "pair,strict": 0.5, "f1,strict": 0.3, "n": 2})
    assert found.texts == ["q0\nx", "q1\nx"]
    assert {metric.name: metric.outcomes.tolist() for metric in found.metrics} == {
        "acc,strict": [1.0, 0.0],
        "acc,loose": [1.0, 1.0],
    }
    assert task_samples([], {"acc,none": None}).texts == []


def test_a_missing_library_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gptsmith.evaluate.lm_eval")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gptsmith\[eval\]'"):
        gptsmith.evaluate(run, lm_eval="smiths")
