"""Every command that the documentation and the help show runs, in a folder whose name has a space.

Only what takes time is made smaller: models, budgets, and servers, which would run for ever. The lessons have their own
test (tests/docs/test_learn.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import shutil
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import typer
from pyarrow import parquet

import gptsmith
from gptsmith import cli
from gptsmith.base import machine
from gptsmith.convert import hub
from gptsmith.serve import opening, server
from gptsmith.serve.studio import running as studio_running
from gptsmith.store.objects import Store
from gptsmith.workflows import import_model, watch

from .object_store import s3_server
from .workflows.conftest import SMALL as SHORT_CONTEXT
from .workflows.conftest import write_text

pytestmark = pytest.mark.story
ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
ELSEWHERE = ("--lm-eval", "--ray", "s3://", "--executor")
"""tests/evaluate/test_lm_eval.py runs it: its own tasks download their data. tests/cluster/test_ray.py starts Ray, and
tests/workflows/test_prepare.py writes to a store, and has Slurm and Ray run tasks."""
BASES = ("mine", "smol", "small", "large", "big", "other", "full", "books", "SmolLM2-135M", "residual_query")
CHATS = ("my_texts-sft", "mine-sft", "smol-sft", "my_chat", "chat")
CLASSIFIERS = ("my_texts-classification", "mine-classification", "spam")
ADAPTERS = ("tuned", "mine-lora")
QUANTIZED = ("my_texts-int8", "my_texts-5bits", "my_texts-q4_0")
SMALL = [*SHORT_CONTEXT, "model.context_length=256", "model.num_heads=2"]
TALKING = ["train.num_steps=30", "train.batch_size=2"]
"""After fewer steps all tokens are as likely as the end of a reply, of which there is then nothing to explain."""
TUNING = ["train.num_steps=2", "train.dtype=float32"]
MAKES = {
    "gptsmith compress runs/my_texts --to int8": "runs/my_texts-int8",
    "gptsmith compress runs/my_texts --bits 5": "runs/my_texts-5bits",
    "gptsmith import models/SmolLM2-135M": "runs/SmolLM2-135M",
}
BUDGETS = ("--minutes", "--hours", "--tokens", "--params", "--epochs")


def shown_commands() -> list[str]:
    """The commands of the pages and of the help of each verb, each once."""
    lines = [
        line.removeprefix("$ ")
        for page in PAGES
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]
    group = typer.main.get_command(cli.app)
    for verb in cli.VERBS:
        lines += (group.get_command(None, verb).epilog or "").splitlines()
    lines = [re.sub(r"\[/?\w+\]", "", line).split("  #")[0].strip() for line in lines]
    return sorted({line for line in lines if line.startswith("gptsmith ")})


COMMANDS = shown_commands()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def chatgpt(number: int) -> dict[str, Any]:
    """A conversation as ChatGPT exports it."""
    turns = [("user", f"What is {number}?"), ("assistant", f"It is {number}.")]
    mapping: dict[str, Any] = {"n0": {"id": "n0", "parent": None, "children": ["n1"], "message": None}}
    for place, (role, text) in enumerate(turns, 1):
        content = {"content_type": "text", "parts": [text]}
        mapping[f"n{place}"] = {
            "id": f"n{place}",
            "parent": f"n{place - 1}",
            "children": [f"n{place + 1}"] if place < len(turns) else [],
            "message": {"author": {"role": role}, "content": content},
        }
    return {"title": f"On {number}", "mapping": mapping, "current_node": f"n{len(turns)}"}


def write_data(folder: Path) -> None:
    """A file for every name that a shown command reads."""
    write_text(folder / "my_texts")
    text = (folder / "my_texts" / "part0.txt").read_text(encoding="utf-8")
    for name in ("book.txt", "more.txt", "other.txt", "python.txt"):
        (folder / name).write_text(text, encoding="utf-8")
    named = hashlib.sha256((folder / "my_texts" / "part2.txt").read_bytes()).hexdigest()
    write_rows(folder / "found.jsonl", [{"kind": "passage", "text": "young smith", "sha256": named}])
    (folder / "reply.txt").write_text("The old smith forges a nail of iron.", encoding="utf-8")
    for name in ("more", "notes", "letters"):
        (folder / name).mkdir()
        (folder / name / "smith.txt").write_text(text[:2000], encoding="utf-8")
    write_rows(folder / "more" / "a.jsonl", [{"text": text[:2000]}])
    answers = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(12)]
    write_rows(folder / "answers.jsonl", answers)
    write_rows(folder / "conversations.jsonl", answers)
    letters = [{"question": f"Dear {n}?", "answer": f"Yours, {n}."} for n in range(120)]
    write_rows(folder / "letters.jsonl", letters)
    pairs = [{"prompt": f"Say {n}", "chosen": f"{n}", "rejected": "no"} for n in range(12)]
    write_rows(folder / "pairs.jsonl", pairs)
    thumbs = [{"prompt": f"Say {n}", "completion": f"{n}", "label": n % 2 == 0} for n in range(12)]
    write_rows(folder / "thumbs.jsonl", thumbs)
    sums = [{"question": f"{n} + 1 =", "answer": str(n + 1)} for n in range(12)]
    write_rows(folder / "sums.jsonl", sums)
    write_rows(folder / "gsm8k_test.jsonl", sums[:3])
    choices = [{"question": f"{n}?", "choices": ["yes", "no"], "answer": 0} for n in range(8)]
    write_rows(folder / "questions.jsonl", choices)
    labelled = "text,label\n" + "".join(f"smith {n} is {n % 2},{n % 2}\n" for n in range(20))
    (folder / "reviews.csv").write_text(labelled, encoding="utf-8")
    (folder / "new.csv").write_text("text\na nail\na sword\n", encoding="utf-8")
    write_rows(folder / "new.jsonl", [{"text": "a nail"}])
    write_rows(folder / "mail.jsonl", [{"text": "a nail"}])
    write_rows(folder / "prompts.jsonl", [{"prompt": "The old"}])
    lines = [f"02/0{day}/2024, 10:0{day} - {name}: {day} nails?" for day in range(1, 9) for name in ("Ann", "Bo")]
    (folder / "WhatsApp Chat with Ann.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "conversations.json").write_text(json.dumps([chatgpt(number) for number in range(8)]), encoding="utf-8")
    (folder / "keys.txt").write_text("sk-0123456789abcdef0123456789abcdef\n", encoding="utf-8")
    (folder / "names.txt").write_text("Smith\nsmith\n", encoding="utf-8")
    (folder / "keys.txt").chmod(0o600)
    parquet.write_table(pyarrow.table({"text": ["a nail"]}), folder / "more.parquet")
    for name in ("elsewhere", "experiments", "exported", "my_tasks"):
        (folder / name).mkdir()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the data, runs and models that the commands name are there, small."""
    folder = tmp_path_factory.mktemp("work") / "a workshop"
    folder.mkdir()
    write_data(folder)
    runs = folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        gptsmith.pretrain(["my_texts"], out="runs/my_texts", settings=[*SMALL, *TALKING])
        gptsmith.finetune("runs/my_texts", ["answers.jsonl"], out=runs / CHATS[0], settings=TUNING)
        gptsmith.finetune("runs/my_texts", ["reviews.csv"], out=runs / CLASSIFIERS[0], settings=TUNING)
        gptsmith.finetune("runs/my_texts", ["answers.jsonl"], out=runs / ADAPTERS[0], lora=2, settings=TUNING)
        gptsmith.prepare("my_texts", out="prepared/my_texts", workers=1)
        gptsmith.compress("runs/my_texts", to="int8", out=runs / QUANTIZED[0])
        gptsmith.export("runs/my_texts", to="huggingface", out="models/SmolLM2-135M")
        gptsmith.export(runs / CHATS[0], to="huggingface", out="models/SmolLM2-135M-Instruct")
        gptsmith.export("runs/my_texts", to="gguf", out="gguf")
        gptsmith.export(runs / CHATS[0], to="gguf", out="chat-gguf")
        gptsmith.export(runs / ADAPTERS[0], to="peft", out="adapters")
    for names in (("my_texts", *BASES), CHATS, CLASSIFIERS, ADAPTERS, QUANTIZED):
        for name in names[1:]:
            shutil.copytree(runs / names[0], runs / name)
    for file in (folder / "exported" / "model.gguf", folder / "mine.gguf"):
        shutil.copy(folder / "gguf" / "model.gguf", file)
    for place in (folder, folder / "models"):
        shutil.copy(folder / "chat-gguf" / "model.gguf", place / "SmolLM2-135M-Instruct.Q4_1.gguf")
    for copy in ("models/theirs", "exports/mine-huggingface"):
        shutil.copytree(folder / "models" / "SmolLM2-135M", folder / copy)
    return folder


def smaller(line: str) -> list[str]:
    """The words of a command with smaller budgets. Everything else is as shown."""
    words = shlex.split(line.split(" > ")[0])
    if "--yes" in words:  # the other commands need the runs
        words.remove("--yes")
    if "--trials" in words:
        words[words.index("--trials") + 1] = "2"
    if words[1] == "plan" and "--minutes" in words:  # which suffices on a machine that is busy
        words[words.index("--minutes") + 1] = "600"
    if "--canaries" in words:  # the text is short
        words[words.index("--canaries") + 1] = "2"
    if "--layers" in words:  # there are two
        words[words.index("--layers") + 1] = "1"
    if "--heal-minutes" in words:
        at = words.index("--heal-minutes")
        del words[at : at + 2]
    if words[1] not in ("pretrain", "finetune") or "--preview" in words:
        return words
    for option in BUDGETS:
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    if "--resume" in words:
        return [*words, "--tokens", "20k"]
    if words[1] == "finetune":
        settings = TUNING
    else:
        words += ["--tokens", "1k"]
        has_tokenizer = "--tokenizer" in words or "prepared/my_texts" in words
        settings = [setting for setting in SMALL if not (setting.startswith("tokenizer") and has_tokenizer)]
    return [*words, *(word for setting in settings for word in ("--set", setting))]


def target(line: str) -> Path | None:
    """What a command makes, if the workshop has it already, for other commands."""
    words = shlex.split(line)
    path = Path(words[words.index("--out") + 1]) if "--out" in words else Path(MAKES.get(line, "-"))
    return path if path.exists() else None


@pytest.fixture
def _in_the_workshop(workshop: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder that a command runs in; what it makes is not there before, and is removed again."""
    monkeypatch.chdir(workshop)
    made = target(line)
    aside = made.rename(f"{made} aside").absolute() if made else None
    before = set(workshop.rglob("*"))
    with s3_server(monkeypatch, "my-bucket") if "s3://" in line else nullcontext() as bucket:
        if bucket and f"--out {bucket}/mine" not in line:
            for path in (workshop / "runs" / "my_texts").rglob("*"):
                if path.is_file():
                    name = path.relative_to(workshop / "runs" / "my_texts").as_posix()
                    Store(f"{bucket}/mine").upload(path, name)
        yield
    for path in sorted(set(workshop.rglob("*")) - before, reverse=True):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if aside:
        aside.rename(str(aside).removesuffix(" aside"))


@pytest.fixture
def _at_a_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command would wait for, or reach over the network, is there at once."""
    monkeypatch.setattr(machine, "process_seconds", lambda: 0.0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    monkeypatch.setattr(import_model, "fetch", lambda name, revision=None: Path("models/SmolLM2-135M"))
    monkeypatch.setattr(
        hub, "fetch", lambda name, revision=None: Path("models") / name.rpartition("/")[2].partition("-GGUF")[0]
    )
    bind = server.bound_socket
    for module in (opening, studio_running):
        monkeypatch.setattr(module, "bound_socket", lambda host, port: bind(host, 0))
    monkeypatch.setattr(server.GracefulServer, "run", lambda self, sockets: None)
    watch_server = watch.watch_server
    monkeypatch.setattr(watch, "watch_server", lambda runs, port: watch_server(runs, port=0))
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda self: None)
    monkeypatch.setattr(webbrowser, "open", lambda address: True)
    for module in ("question", "answer", "methods.activation_patching"):  # models of two steps hardly prefer any word
        monkeypatch.setattr(f"gptsmith.explain.{module}.LEAST_DIFFERENCE", 0.0)


@pytest.mark.usefixtures("_at_a_distance", "_in_the_workshop")
@pytest.mark.parametrize("line", [line for line in COMMANDS if not any(part in line for part in ELSEWHERE)])
def test_a_shown_command_runs(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", smaller(line))
    with pytest.raises(SystemExit) as left:
        cli.main()
    if line.startswith("gptsmith certify") and ".gguf" in line and find_spec("llama_cpp") is None:
        assert "pip install 'gptsmith[interop]'" in capsys.readouterr().err
        return
    assert not left.value.code
