"""Commands that are killed, hung up on or watched by nobody: nothing is lost, and the same command works again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.leftovers import TEMPORARY
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer
from tests.forked import Forked
from tests.workflows.conftest import SMALL, Outcome

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the signals and locks are those of POSIX")
SETTINGS = [*SMALL, "train.num_steps=4"]


class HangUp(Callback):
    """A terminal that is closed after the second step."""

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if trainer.state.step == 2:
            signal.raise_signal(signal.SIGHUP)


@contextmanager
def handling(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_closed_terminal_stops_and_saves(text: Path, tmp_path: Path) -> None:
    with more_callbacks(HangUp()), handling(signal.SIGHUP, signal.SIG_DFL):
        figures = gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert (figures["status"], figures["signal"], figures["step"]) == ("stopped", "SIGHUP", 2)
    assert gptsmith.pretrain(resume=tmp_path / "run")["step"] == 4


def test_a_signal_is_answered_at_once(text: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with more_callbacks(HangUp()), handling(signal.SIGHUP, signal.SIG_DFL):
        gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)
    assert "\nstopping after this step, with a checkpoint; press again to stop at once\n" in capfd.readouterr().err


def test_nohup_is_heeded(text: Path, tmp_path: Path) -> None:
    with more_callbacks(HangUp()), handling(signal.SIGHUP, signal.SIG_IGN):
        figures = gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)
    assert (figures["status"], figures["step"]) == ("finished", 4)


UNREAD = """
import os, runpy, sys
left, end = os.pipe()
os.close(left)
for number in (1, 2):
    os.dup2(end, number)
sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
runpy.run_module("gptsmith", run_name="__main__")
"""


def test_training_outlives_whoever_reads_its_messages(text: Path, tmp_path: Path) -> None:
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    Forked("pretrain", text, "--out", "run", *options, program=UNREAD, cwd=tmp_path).wait()
    assert json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["status"] == "finished"


KILLED = """
import json, os, signal, sys
import gptsmith, gptsmith.workflows.finetune
from gptsmith.base import files
from gptsmith.base.leftovers import TEMPORARY

def forked(call, dies):
    process = os.fork()
    if process == 0:
        if dies:
            sync_folder = files.sync_folder
            def killed(folder):
                if folder.name.startswith(TEMPORARY):
                    os.kill(os.getpid(), signal.SIGKILL)
                sync_folder(folder)
            files.sync_folder = killed
        try:
            call()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def num_left():
    return sum(name.startswith(TEMPORARY) for _, folders, files in os.walk(".") for name in folders + files)

base, folder, data = sys.argv[1:]
verbs = {
    "compress": lambda: gptsmith.compress(base, to="int8", out="compressed"),
    "export": lambda: gptsmith.export(base, to="huggingface", out="exported"),
    "gguf": lambda: gptsmith.export(base, to="gguf", out="gguf"),
    "import": lambda: gptsmith.import_model(folder, out="imported"),
    "finetune": lambda: gptsmith.finetune(base, [data], out="tuned", settings=["train.num_steps=2"]),
}
seen = {}
for name, call in verbs.items():
    seen[name] = [forked(call, True), num_left(), forked(call, False), num_left()]
print(json.dumps(seen))
"""


@pytest.mark.story
def test_a_verb_that_is_killed_works_when_it_is_called_again_and_clears_what_was_left(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    pairs = [{"prompt": f"Nail {n}?", "completion": "Yes."} for n in range(40)]
    data = tmp_path / "chat.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    folder = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "model")["folder"]
    (tmp_path / "work").mkdir()
    process = Forked(trained["run"], folder, data, program=KILLED, cwd=tmp_path / "work")
    out, err = process.communicate()
    assert process.poll() == 0, err
    seen = json.loads(out.splitlines()[-1])
    for name, (killed, num_left, again, num_left_then) in seen.items():
        assert (name, killed, again, num_left_then) == (name, -signal.SIGKILL, 0, 0), err
        assert num_left >= 1


INTERRUPTED = """
import json, os, signal, sys
import gptsmith.workflows.finetune, gptsmith.workflows.predict
from gptsmith import cli
from gptsmith.base import files
from gptsmith.base.leftovers import TEMPORARY
from gptsmith.generate.engine import Engine
from gptsmith.model.gpt import GPT

pressed = []

def interrupting(function):
    def called(*args, **named):
        if not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return function(*args, **named)
    return called

def forked(words):
    heard, said = os.pipe()
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(said, 2)
        files.sync_folder = interrupting(files.sync_folder)  # before anything gets its name
        GPT.hidden = interrupting(GPT.hidden)
        Engine.step = interrupting(Engine.step)
        sys.argv = ["gptsmith", *words]
        try:
            cli.main()
        except SystemExit as left:
            os._exit(left.code)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(99)
    os.close(said)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, open(heard).read(), [name for _, folders, files in os.walk(".") for name in folders + files]

print(json.dumps([forked(words) for words in json.loads(sys.argv[1])]))
"""


@pytest.mark.story
def test_ctrl_c_in_any_verb_is_acknowledged_and_leaves_nothing_half_written(
    trained: dict[str, Any], model: str, text: Path, tmp_path: Path
) -> None:
    run, more = str(trained["run"]), str(text)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"Nail {n}?", "completion": "Yes."}) + "\n" for n in range(40)))
    verbs = [
        ["compress", run, "--to", "int8", "--out", "compressed"],
        ["compress", run, "--bits", "5", "--out", "in_blocks"],
        ["explain", run, "The old", "--html", "why.html"],
        ["trace", run, "The old smith", "--forget"],
        ["export", run, "--to", "huggingface", "--out", "exported"],
        ["export", run, "--to", "gguf", "--out", "exported.gguf"],
        ["import", model, "--out", "imported"],
        ["certify", run, model],
        ["evaluate", run, more, "--json"],
        ["generate", run, "The old", "--json"],
        ["plan", more, "--minutes", "1", "--json"],
        ["finetune", run, str(pairs), "--out", "tuned", "--set", "train.num_steps=2"],
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps({"text": f"Nail {n}", "label": n % 2}) + "\n" for n in range(12)))
    settings = ["train.num_steps=1", "train.batch_size=2"]
    classifier = gptsmith.finetune(run, [labels], lora=2, out=tmp_path / "classifier", settings=settings)["run"]
    verbs += [["merge", classifier, "--out", "merged"], ["predict", classifier, str(labels)]]
    verbs += [["audit", more, "--out", "found.jsonl"]]
    (tmp_path / "work").mkdir()
    process = Forked(json.dumps(verbs), program=INTERRUPTED, cwd=tmp_path / "work")
    out, err = process.communicate(300)
    assert process.poll() == 0, err
    *shown, line = out.splitlines()
    assert shown == []
    for words, (code, said, left) in zip(verbs, json.loads(line), strict=True):
        assert code == 130, (words, said)
        assert "stopping" in said, words
        assert left == [] or words[0] in ("finetune", "audit"), words
    found = (tmp_path / "work" / "found.jsonl").read_text(encoding="utf-8")
    assert found.endswith("\n"), "the file is there whole"
    assert {json.loads(line)["kind"] for line in found.splitlines()} == {"near_duplicate"}


OUTPUTS = {
    "pretrain": ["pretrain", "TEXT", "--out"],
    "finetune": ["finetune", "RUN", "TEXT", "--out"],
    "compress": ["compress", "RUN", "--to", "int8", "--out"],
    "audit": ["audit", "TEXT", "--out"],
    "explain": ["explain", "RUN", "The old", "--html"],
    "export": ["export", "RUN", "--to", "huggingface", "--out"],
    "gguf": ["export", "RUN", "--to", "gguf", "--out"],
    "import": ["import", "MODEL", "--out"],
    "certify": ["certify", "RUN", "RUN", "--out"],
}


@pytest.fixture(scope="module")
def model(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(gptsmith.export(trained["run"], to="huggingface", out=tmp_path_factory.mktemp("hf") / "m")["folder"])


PLACES = ("file/made", "n" * 300, "file")
REPLACING = ("audit", "explain")
"""Those that write one file, in the place of one of that name."""


@pytest.mark.parametrize(
    ("verb", "place"),
    [(verb, place) for verb in sorted(OUTPUTS) for place in PLACES if place != "file" or verb not in REPLACING],
)
def test_an_output_that_cannot_be_written_is_one_line(
    verb: str, place: str, trained: dict[str, Any], model: str, text: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    named = {"TEXT": text, "RUN": trained["run"], "MODEL": model}
    outcome = call(*(named.get(word, word) for word in OUTPUTS[verb]), tmp_path / place)
    assert outcome.code == 2, outcome.err
    line = outcome.err.splitlines()[-1]
    assert line.startswith("gptsmith: ")
    assert "Traceback" not in outcome.err
    assert place in line
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_any_error_of_the_system_is_one_line(call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/mnt/broken")

    monkeypatch.setattr("gptsmith.workflows.info.info", fails)
    outcome = call("info", "/mnt/broken")
    assert (outcome.code, outcome.err) == (2, "gptsmith: /mnt/broken: Input/output error\n")
