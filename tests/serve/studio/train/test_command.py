"""From the page to a command and back: the words of a command give the request that was made."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gptsmith.base.command_words import fields_of, words_of
from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.cli import app
from gptsmith.serve.studio.train.command import (
    OPTIONS,
    AnyRequest,
    check_settings,
    plan_words,
    request_of,
    run_name,
    training_words,
)
from gptsmith.serve.studio.train.offered_settings import offered_settings
from gptsmith.serve.studio.train.schemas import Wish
from gptsmith.train.plan_request import PlanRequest
from gptsmith.train.request import FinetuneRequest, PretrainRequest

VALUES: dict[str, tuple[Any, ...]] = {
    "preset": ("gpt2",), "params": ("3M",), "tokenizer": ("bytes", "characters"), "seed": ("7", -1, 0),
    "redact": ("true", True, "false"), "private": ("8", 2.5), "objective": ("sft",), "epochs": ("2.5",),
    "lora": ("8", 32), "skip_bad": (True,), "me": ("--Ann",),
}  # fmt: skip
SETTINGS = {"train.batch_size": "8", "train.schedule.warmup_steps": "0", "train.objective.kind": "sft"}
DATA = (
    ["--", "a b.txt"],
    ["--redact", "--without", "-list.jsonl", "texts"],
    ["--set", "data.encoding=cp1252", "--", "-x"],
)


def parsed(monkeypatch: pytest.MonkeyPatch, verb: str, words: list[str]) -> Any:
    """The request that the command line makes of the words behind a verb."""
    module = {"pretrain": "pretrain.pretrain", "finetune": "finetune.finetune", "plan": "plan.plan"}[verb]
    found: list[Any] = []

    class GotItError(Exception):
        pass

    def kept(request: Any) -> None:
        found.append(request.model_copy(update={"started": None}))
        raise GotItError

    monkeypatch.setattr(f"gptsmith.workflows.{module}", kept)
    with pytest.raises(GotItError):
        app([verb, *words], standalone_mode=False)
    return found[0]


def wishes(count: int) -> list[tuple[Wish, list[str], str | None]]:
    chance = random.Random(0)
    made = []
    for _ in range(count):
        base = chance.choice([None, "runs/base", "-odd"])
        names = OPTIONS["pretrain" if base is None else "finetune"]
        options = {name: chance.choice(VALUES[name]) for name in names if chance.random() < 0.4}
        if "params" in options:
            options.pop("preset", None)
        known = {path: value for path, value in SETTINGS.items() if base is not None or "objective" not in path}
        settings = {path: value for path, value in known.items() if chance.random() < 0.5}
        wish = Wish(data="x", minutes=chance.choice([0.5, 10.0, 720.0]), options=options, settings=settings)
        made.append((wish, list(chance.choice(DATA)), base))
    return made


def test_words_give_the_same_request_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for wish, data, base in wishes(40):
        request = request_of(wish, data, base).model_copy(update={"out": "runs/new"})
        assert request.minutes == (None if "private" in wish.options else wish.minutes)
        verb, words = training_words(request)
        assert parsed(monkeypatch, verb, words) == request
        planned = parsed(monkeypatch, "plan", plan_words(request))
        assert isinstance(planned, PlanRequest)
        again = planned.of_tuning() if base is not None else planned.of_new_model()
        for name in type(again).model_fields.keys() - {"started", "out"}:
            assert getattr(again, name) == getattr(request, name), name


def test_words_are_read_back() -> None:
    for wish, data, base in wishes(40):
        request = request_of(wish, data, base)
        cls: type[Settings] = type(request)
        fields = fields_of(words_of(request, ("sources",)), cls, "sources")
        assert cls.parse(fields) == request


@pytest.mark.parametrize(
    ("changes", "base", "message"),
    [
        ({"settings": {"train.batch_size": "many"}}, None, "train.batch_size: must be .*integer"),
        ({"settings": {"train.optimizer.learning_rate": "-1"}}, None, "greater than 0"),
        ({"settings": {"train.batch_sice": "8"}}, None, "cannot be set here"),
        ({"settings": {"train.objective.reward": "evil.py:run"}}, "runs/base", "cannot be set here"),
        ({"settings": {"tokenizer.path": "/etc/passwd"}}, None, "cannot be set here"),
        ({"settings": {"track.wandb": "mine"}}, None, "cannot be set here"),
        ({"settings": {"train.batch_size": "8\nx = 1"}}, None, "one line"),
        ({"options": {"preset": "gpt9"}}, None, "no such preset: gpt9"),
        ({"options": {"tokenizer": "/etc/passwd"}}, None, "choose one of"),
        ({"options": {"lora": 8}}, None, "lora is no option of pretrain"),
        ({"options": {"lora": -8}}, "runs/base", "lora: must be greater than 0"),
        ({"options": {"out": "/tmp/x"}}, None, "out is no option"),
        ({"options": {"private": "nan"}}, None, "private"),
    ],
)
def test_wrong_values_say_why_before_anything_starts(changes: dict[str, Any], base: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_settings(request_of(Wish(data="x", minutes=1.0, **changes), ["text"], base))


def test_each_offered_setting_is_one_of_its_verb() -> None:
    """At its default, each is accepted; the kinds that it is of are chosen with it."""
    requests: dict[str, type[AnyRequest]] = {"pretrain": PretrainRequest, "finetune": FinetuneRequest}
    assert requests.keys() == OPTIONS.keys()
    for one in offered_settings("pretrain"):
        assert one["meaning"], one["path"]
        if one["default"] is None or one["path"].startswith("train.private."):
            continue
        kind = {} if one["only"] is None else {one["only"]["path"]: one["only"]["value"]}
        value = str(one["default"]).lower() if isinstance(one["default"], bool) else str(one["default"])
        wish = Wish(data="x", minutes=1.0, settings={**kind, one["path"]: value})
        if not one["path"].startswith(("train.objective.", "model.linear.")):
            check_settings(request_of(wish, ["text"]))


@pytest.mark.parametrize(
    ("wanted", "data", "taken", "name"),
    [
        ("mine", "x", set(), "mine"),
        ("mine", "x", {"mine", "mine-2"}, "mine-3"),
        ("../../etc", "x", set(), "etc"),
        ("", "my texts/old ones.v2.txt", set(), "old_ones"),
        ("-rf\u202e\n/", "x", set(), "rf"),
        ("...", "///", set(), "run"),
        ("日记 😀", "x", set(), "日记_😀"),
        ("a" * 500, "x", set(), "a" * 80),
        ("😀" * 500, "x", set(), "😀" * 20),
    ],
)
def test_runs_are_called_as_folders_can_be(wanted: str, data: str, taken: set[str], name: str) -> None:
    assert run_name(wanted, data, taken) == name
