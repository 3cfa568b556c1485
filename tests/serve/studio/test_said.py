"""What commands say reaches the page in its own words: by the code of a sentence, or with fields in the place of
options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.notices import Notice, notice_of, placed
from gptsmith.serve.static import FOLDER

from ...base.test_hints import literals
from .conftest import Opened, StudioPage
from .test_words import words

PACKAGE = Path(gptsmith.__file__).parent
REACHED = ("base", "text", "data", "model", "run", "train", "convert/adapters.py", "convert/load.py", "convert/open.py",
           "workflows/plan.py", "workflows/pretrain.py", "workflows/finetune.py", "workflows/pairs.py")  # fmt: skip
"""What the commands of a training are made of."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
ELSEWHERE = frozenset(
    [
        "--allow-host",
        "--base",
        "--canaries",
        "--clear-output",
        "--config",
        "--convert-to",
        "--executor",
        "--gpus",
        "--harness",
        "--harness-path",
        "--headless",
        "--help",
        "--html",
        "--import",
        "--json",
        "--kv-cache-memory",
        "--learns",
        "--lm-eval",
        "--lm-eval-path",
        "--lora-alpha",
        "--max-num-seqs",
        "--max-queue-size",
        "--max-restarts",
        "--max-streams",
        "--max-waiting",
        "--nproc-per-node",
        "--ray",
        "--replicas",
        "--resume",
        "--target-loss",
        "--to",
        "--tokens",
        "--trials",
        "--until-loss",
        "--version",
        "--workers",
    ]
)
"""Options that no command of the page has, and that nobody is told to give who did not: of other verbs, of other
programs, and of names of older versions."""


def sources() -> Iterator[Path]:
    for name in REACHED:
        path = PACKAGE / name
        yield from [path] if path.is_file() else path.rglob("*.py")


def notices() -> Iterator[tuple[str, set[str]]]:
    """The code and the names of the values of each sentence in the source."""
    for path in PACKAGE.rglob("*.py"):
        if "Notice(" not in (source := path.read_text(encoding="utf-8")):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Notice":
                given = node.args[1] if len(node.args) > 1 else None
                for constant in [given] if not isinstance(given, ast.IfExp) else [given.body, given.orelse]:
                    if isinstance(constant, ast.Constant):
                        yield str(constant.value), {keyword.arg or "" for keyword in node.keywords}


def test_each_option_in_a_sentence_that_may_reach_the_page_has_a_field_there() -> None:
    table = (FOLDER / "studio" / "said.js").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^  "(--[a-z-]+)": \["([\w.]+)",', table, re.MULTILINE))
    assert set(fields.values()) <= words("en").keys()
    named = {
        (option, str(path.relative_to(PACKAGE)))
        for path in sources()
        if "--" in (source := path.read_text(encoding="utf-8"))
        for text in literals(ast.parse(source))
        for option in OPTION.findall(text)
    }
    assert len(named) > 30
    assert sorted(one for one in named if one[0] not in fields and one[0] not in ELSEWHERE) == []


def test_each_sentence_with_a_code_has_words_whose_gaps_it_fills() -> None:
    found = list(notices())
    assert len(found) > 15
    for code, values in found:
        gaps = set(re.findall(r"\{(\w+)", words("en")[f"said.{code}"]))
        assert gaps <= values | {"place", "problem"}, code


def test_a_sentence_keeps_its_code_as_an_error_and_behind_a_place() -> None:
    said = Notice("12 minutes are long", "long", minutes=12)
    assert said == "12 minutes are long"
    assert notice_of(UserError(said)) == notice_of(said) == {"code": "long", "values": {"minutes": 12}}
    assert notice_of(UserError("plain")) is notice_of("plain") is notice_of(UserError()) is None
    behind = DataError(placed("a.jsonl, line 3", UserError(said)))
    assert str(behind) == "a.jsonl, line 3: 12 minutes are long"
    assert notice_of(behind) == {
        "code": "long", "values": {"place": "a.jsonl, line 3", "problem": str(said), "minutes": 12},
    }  # fmt: skip
    bad = notice_of(placed("a.jsonl, line 3", UserError("it is empty")))
    assert bad == {"code": "bad_example", "values": {"place": "a.jsonl, line 3", "problem": "it is empty"}}


SAID = [
    ("with --lora 8 or --epochs N", None, "with “What is trained: 8” or “Passes over the data, at most: N”"),
    ("--set 'examples.ignored_fields=[\"a b\"]'", None, "“Settings: examples.ignored_fields=[\"a b\"]”"),
    ("with --skip-bad; --me 'Ann B'", None,
     "with “Skip examples that cannot be used”; “In chats, answer as: Ann B”"),
    ("--no-such 3, well--known -- x", None, "--no-such 3, well--known -- x"),
    ("/home/a/.studio/data/My/files/deep/b.csv: no; .studio/data/x/made/ab1/texts/c.txt", None,
     "deep/b.csv: no; c.txt"),
    ("in English", {"code": "too_short", "values": {"minutes": 0.5, "needed_minutes": 90}},
     "30 s are too short for this here: about 1 h 30 min are the least that works."),
    ("in English", {"code": "memory", "values": {"needed_bytes": 6.8e9, "limit_bytes": 1e9}},
     "This takes 6.8 GB of memory at least, and 1 GB can be had here: end other programs, or begin with a smaller "
     "model."),
    ("in English", {"code": "found", "values": {"num_found": 2, "num_read": 9, "kinds": {"email": 3, "phone": 1}}},
     "Found in 2 of 9 texts or examples: E-mail addresses 3, Phone numbers 1. “Findings” in Data lists them."),
    ("new --seed", {"code": "of_a_later_version", "values": {}}, "new “Random seed”"),
]  # fmt: skip


def test_sentences_are_said_in_the_words_of_the_page(studio: Opened, browser: Any) -> None:
    seen = StudioPage(browser, studio)
    say = """async (given) => {
      const [{ said }, { t }] = await Promise.all([import("./page/studio/said.js"), import("./page/studio/words.js")]);
      return given.map(([text, notice]) => said(t, text, notice));
    }"""
    assert seen.page.evaluate(say, [[text, notice] for text, notice, _ in SAID]) == [shown for *_, shown in SAID]
    seen.page.evaluate("import('./page/studio/words.js').then(({ chooseLanguage }) => chooseLanguage('zh'))")
    in_chinese = seen.page.evaluate(say, [["--lora 8", None], ["", SAID[5][1]]])
    assert in_chinese == ["“训练哪些部分：8”", "30 秒 在这台机器上太短：至少约需 1 小时 30 分钟。"]
    seen.close()
