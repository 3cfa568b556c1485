"""Exports of chat programs: small files in their real formats, and the conversations in them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.corpus import read_corpus
from gptsmith.data.examples import ExampleReading, read_examples, read_shape
from gptsmith.data.exports import KINDS, export_of
from gptsmith.data.readers import ReadSettings


def node(name: str, parent: str | None, children: list[str], role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    content = {"content_type": more.pop("content_type", "text"), "parts": list(parts)}
    message = {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1.0,
        "content": content,
    }
    return {"id": name, "message": {**message, "recipient": "all", **more}, "parent": parent, "children": children}


HIDDEN = {"metadata": {"is_visually_hidden_from_conversation": True}}
CHATGPT = [
    {
        "title": "About bread",
        "create_time": 1700000000.0,
        "current_node": "d",
        "mapping": {
            "6a5f9e2c-root": {"id": "6a5f9e2c-root", "message": None, "parent": None, "children": ["s"]},
            "s": node("s", "6a5f9e2c-root", ["u"], "system", "", **HIDDEN),
            "u": node("u", "s", ["a", "b"], "user", "What is bread?"),
            "a": node("a", "u", [], "assistant", "A worse answer."),
            "b": node("b", "u", ["t"], "assistant", "search('bread')", recipient="browser", content_type="code"),
            "t": node("t", "b", ["h"], "tool", "bread is ..."),
            "h": node("h", "t", ["c"], "assistant", "I think.", content_type="thoughts"),
            "c": node("c", "h", ["v"], "assistant", "Baked dough.\ue200cite\ue202turn0search0\ue201"),
            "v": node(
                "v", "c", ["d"], "user", {"asset_pointer": "file://x"}, "And this?", content_type="multimodal_text"
            ),
            "d": node("d", "v", [], "assistant", "A loaf."),
        },
    }
]
CLAUDE = [
    {
        "uuid": "550e8400-e29b-41d4-a716-446655440000",
        "name": "Bread",
        "chat_messages": [
            {"sender": "human", "text": "What is bread?", "content": [{"type": "text", "text": "What is bread?"}]},
            {
                "sender": "assistant",
                "text": "",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Baked dough."}],
            },
            {"sender": "human", "text": "And this?", "content": []},
            {"sender": "assistant", "text": "A loaf."},
        ],
    }
]
LEARNT = ["What is bread?", "Baked dough.", "And this?", "A loaf."]


def telegram_message(number: int, name: str, text: Any, day: int) -> dict[str, Any]:
    return {"id": number, "type": "message", "date": f"2024-01-0{day}T10:0{number}:00", "from": name, "text": text}


TELEGRAM = {
    "name": "Walks",
    "type": "private_group",
    "id": 1,
    "messages": [
        {
            "id": 1,
            "type": "service",
            "date": "2024-01-01T09:00:00",
            "actor": "Ann",
            "action": "create_group",
            "text": "",
        },
        telegram_message(2, "Ann", "Hello Bo", 1),
        telegram_message(3, "Bo", ["Hi! See ", {"type": "link", "text": "https://x.org"}, "."], 1),
        telegram_message(4, "Bo", "Nice, no?", 1),
        telegram_message(5, "Ann", "Tides today?", 2),
        telegram_message(6, "Ann", "", 2),
        telegram_message(7, "Bo", "At noon.", 2),
        telegram_message(8, "Ann", "Thanks", 2),
    ],
}
TELEGRAM_OF_ALL = {"about": "Your data", "chats": {"about": "All chats", "list": [TELEGRAM]}}


def discord_message(name: str, text: str, time: str, kind: str = "Default") -> dict[str, Any]:
    author = {"id": "41771983423143937", "name": name.lower(), "nickname": name, "isBot": False}
    return {"id": "866674314627121232", "type": kind, "timestamp": time, "content": text, "author": author}


DISCORD = {
    "guild": {"id": "0", "name": "Direct Messages"},
    "channel": {"id": "1", "type": "DirectTextChat", "name": "walks"},
    "exportedAt": "2024-01-03T00:00:00+00:00",
    "messages": [
        discord_message("Ann", "Hello Bo", "2024-01-01T10:00:00+00:00"),
        discord_message("Bo", "Hi! See https://x.org.", "2024-01-01T10:01:00+00:00", "Reply"),
        discord_message("Bo", "Nice, no?", "2024-01-01T10:02:00+00:00"),
        discord_message("Ann", "Started a call.", "2024-01-01T10:03:00+00:00", "Call"),
        discord_message("Ann", "Tides today?", "2024-01-02T10:00:00+00:00"),
        discord_message("Bo", "At noon.", "2024-01-02T10:01:00+00:00"),
        discord_message("Ann", "Thanks", "2024-01-02T10:01:30+00:00"),
    ],
    "messageCount": 7,
}


def slack_message(user: str, text: str, time: str, **more: Any) -> dict[str, Any]:
    profile = {"real_name": {"U1": "Ann Lee", "U2": "Bo"}[user], "display_name": {"U1": "Ann", "U2": ""}[user]}
    return {"type": "message", "user": user, "text": text, "ts": time, "user_profile": profile, **more}


SLACK = [
    slack_message("U1", "Ann has joined the channel", "1704100000.000100", subtype="channel_join"),
    slack_message("U1", "Hello Bo", "1704103200.000100"),
    slack_message("U1", "Tides today?", "1704103201.000100", thread_ts="1704103201.000100"),
    slack_message("U2", "Hi! See <https://x.org>.", "1704103260.000100"),
    slack_message("U2", "At noon.", "1704103270.000100", thread_ts="1704103201.000100"),
    slack_message("U1", "Thanks", "1704103280.000100", thread_ts="1704103201.000100"),
    slack_message("U2", "Nice, no?", "1704103290.000100"),
]
ANDROID = """\
12/31/23, 8:59\u202fPM - Messages and calls are end-to-end encrypted. Tap to learn more.
1/13/24, 9:00\u202fPM - Ann: Hello Bo
1/13/24, 9:01\u202fPM - Bo: Hi! See https://x.org.
Nice, no?
1/13/24, 9:01\u202fPM - Bo: <Media omitted>
1/13/24, 9:02\u202fPM - Cy joined using this group's invite link
1/14/24, 9:02\u202fPM - Ann: Tides today?
1/14/24, 9:03\u202fPM - Bo: At noon.<This message was edited>
1/14/24, 9:04\u202fPM - Ann: Thanks
"""
IPHONE = """\
[13.01.24, 21:00:05] Ann: \u200eMessages and calls are end-to-end encrypted.
[13.01.24, 21:00:05] Ann: Hello Bo
[13.01.24, 21:01:10] Bo: Hi! See https://x.org.
Nice, no?
\u200e[13.01.24, 21:01:20] Bo: \u200eimage omitted
[14.01.24, 09:02:00] Ann: Tides today?
[14.01.24, 09:03:00] Bo: At noon.
[14.01.24, 09:04:00] Ann: Thanks
"""
OF_PEOPLE: dict[str, tuple[str, Any]] = {
    "telegram": ("result.json", TELEGRAM),
    "telegram of all chats": ("result.json", TELEGRAM_OF_ALL),
    "discord": ("walks.json", DISCORD),
    "slack": ("2024-01-01.json", SLACK),
    "whatsapp on Android": ("WhatsApp Chat with Bo.txt", ANDROID),
    "whatsapp on an iPhone": ("_chat.txt", IPHONE),
}
OF_MODELS: dict[str, tuple[str, Any]] = {
    "chatgpt": ("conversations.json", CHATGPT),
    "claude": ("conversations.json", CLAUDE),
}


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return path


def conversations(path: Path, me: str | None = None) -> list[list[tuple[str, str]]]:
    reading = ExampleReading(me=me)
    assert read_shape([path], reading) == "chat"
    found = read_examples([path], "chat", reading).examples
    return [[(turn["role"], turn["content"]) for turn in example.messages] for example in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", OF_MODELS)
def test_conversations_with_models_are_read_as_they_were_last_seen(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, *OF_MODELS[name])
    assert conversations(path) == [list(zip(["user", "assistant"] * 2, LEARNT, strict=True))]


@pytest.mark.parametrize("name", OF_PEOPLE)
def test_the_model_answers_as_one_of_the_people(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, *OF_PEOPLE[name])
    assert conversations(path, me="bo") == [
        [("user", "Hello Bo"), ("assistant", "Hi! See https://x.org.\nNice, no?")],
        [("user", "Tides today?"), ("assistant", "At noon.")],
    ]
    assert conversations(path, me="Ann") == [[("user", "At noon."), ("assistant", "Thanks")]]


@pytest.mark.parametrize("name", OF_PEOPLE)
def test_a_person_says_who_the_model_is(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, *OF_PEOPLE[name])
    with pytest.raises(UserError, match=r"is a chat of .*(Ann|Bo) \(\d turns\).*--me \"?(Ann|Bo)"):
        read_shape([path])
    with pytest.raises(UserError, match=r"no messages of Bob in the chats \(did you mean Bo\?"):
        read_shape([path], ExampleReading(me="Bob"))


@pytest.mark.parametrize("name", OF_PEOPLE)
def test_the_words_are_a_text(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, *OF_PEOPLE[name])
    corpus = read_corpus([path], ReadSettings(), tmp_path / "cache")
    texts = sorted(corpus.text(number) for number in range(len(corpus)))
    assert texts == [
        "Ann: Hello Bo\n\nBo: Hi! See https://x.org.\nNice, no?",
        "Ann: Tides today?\n\nBo: At noon.\n\nAnn: Thanks",
    ]


@pytest.mark.parametrize("name", OF_MODELS)
def test_the_words_of_conversations_with_models_are_a_text(tmp_path: Path, name: str) -> None:
    corpus = read_corpus([written(tmp_path, *OF_MODELS[name])], ReadSettings(), tmp_path / "cache")
    assert [corpus.text(number) for number in range(len(corpus))] == ["\n\n".join(LEARNT)]


def test_a_chat_in_which_the_person_answers_nobody_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "_chat.txt", "".join(IPHONE.splitlines(keepends=True)[:4]))
    with pytest.raises(UserError, match="no message of Ann answers anybody"):
        read_shape([path], ExampleReading(me="Ann"))


def test_in_a_group_the_others_are_named(tmp_path: Path) -> None:
    chat = {**TELEGRAM, "messages": [*TELEGRAM["messages"][1:4], telegram_message(5, "Cy", "Yes.", 1)]}  # type: ignore[index]
    chat["messages"].insert(1, telegram_message(2, "Cy", "And Cy", 1))
    (messages,) = conversations(written(tmp_path, "result.json", chat), me="Bo")
    assert messages[0] == ("user", "Ann: Hello Bo\nCy: And Cy")


def test_a_whole_slack_export_is_read(tmp_path: Path) -> None:
    written(
        tmp_path, "users.json", [{"id": "U1", "profile": {"real_name": "Ann Lee"}, "deleted": False, "name": "ann"}]
    )
    written(tmp_path, "channels.json", [{"id": "C1", "name": "walks", "creator": "U1", "members": ["U1"]}])
    (tmp_path / "walks").mkdir()
    written(tmp_path / "walks", "2024-01-01.json", SLACK)
    written(tmp_path / "walks", "2024-01-02.json", [slack_message("U1", "Alone <@U1> &amp; well", "1704203200.0")])
    assert len(conversations(tmp_path, me="Bo")) == 2
    corpus = read_corpus([tmp_path], ReadSettings(), tmp_path / "cache")
    assert "Ann: Alone @Ann & well" in [corpus.text(number) for number in range(len(corpus))]


@pytest.mark.parametrize(
    ("lines", "days"), [("1/2/24 2/2/24 13/2/24", 3), ("1/2/24 1/3/24 1/13/24", 3), ("24/1/2 24/1/3", 2)]
)
def test_the_order_of_day_and_month_is_the_one_that_fits(lines: str, days: int) -> None:
    text = "".join(f"{date}, 21:00 - Ann: hello there\n{date}, 21:01 - Bo: hi\n" for date in lines.split())
    export = export_of(text)
    assert export is not None
    (messages,) = export.conversations(text)
    times = [message.time_s or 0 for message in messages]
    assert times == sorted(times)
    assert sum(later - earlier >= 3600 for earlier, later in pairwise(times)) == days - 1


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"role": "user", "content": "x"}]},
        [{"messages": []}],
        {"type": "a", "messages": [{"type": "other"}]},
        [{"type": "message"}],
        "12/01/23 was a day.\nAnn: hello",
        "Ann: hello\nBo: hi",
        "",
        [],
        {},
        None,
        [[]],
        {"chats": {"list": [1]}},
        [{"mapping": 1}],
    ],
)
def test_other_files_are_no_exports(value: Any) -> None:
    assert export_of(value) is None


@pytest.mark.parametrize("name", [*OF_PEOPLE, *OF_MODELS])
def test_a_damaged_export_is_one_line(tmp_path: Path, name: str) -> None:
    file, content = {**OF_PEOPLE, **OF_MODELS}[name]
    text = content if isinstance(content, str) else json.dumps(content)
    for damaged in (
        text.replace('"content"', '"cuntent"').replace('"text":', '"txet":'),
        text.replace('"role"', '"rule"').replace('"parts"', '"part"'),
        text[: len(text) // 2],
    ):
        path = written(tmp_path, file, damaged)
        problem = ""
        try:
            read_examples([path], "chat", ExampleReading(me="Bo"))
        except UserError as error:
            problem = str(error)
        assert "\n" not in problem


def test_every_format_is_tested() -> None:
    names = {name.split()[0] for name in [*OF_PEOPLE, *OF_MODELS]}
    assert names == set(KINDS.names())
