"""Conversations that leave the browser and come back."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Blank

READ = """async (text) => {
  const {fromJson} = await import("/page/files.js");
  try {
    return {conversations: fromJson(text)};
  } catch (error) {
    return {error: error.message, isPlain: error.constructor === Error};
  }
}"""
WRITE = """async (conversations) => (await import("/page/files.js")).toJson(conversations)"""
MARKDOWN = """async (conversation) => (await import("/page/files.js")).toMarkdown(conversation)"""
TOKEN: dict[str, Any] = {
    "text": "a",
    "logprob": -0.5,
    "alternatives": [{"text": "�", "bytes": [226], "logprob": -0.5}],
}
TEXTS = ["", "a", "two\nlines", "😀 é \u2028 \ud83d", "<script>", '{"x": 1}', "x" * 1000]


def random_tree(chance: random.Random, size: int) -> dict[str, Any]:
    """A conversation of so many messages."""
    nodes: dict[str, Any] = {}
    roots: list[str] = []
    selected: dict[str, str | None] = {}
    for i in range(size):
        parent = chance.choice([None, *nodes]) if chance.random() < 0.6 else next(reversed(nodes), None)
        node = {
            "id": f"n{i}-{chance.randrange(100)}",
            "parent": parent,
            "children": [],
            "role": chance.choice(["user", "assistant"]),
            "text": chance.choice(TEXTS),
            "created": 1_700_000_000_000 + i,
        }
        extras = {
            "tokens": [TOKEN],
            "figures": {"seconds": 1.5, "model": "m"},
            "error": {"kind": "gone", "message": "It is gone."},
            "finish": "length",
        }
        node |= {name: value for name, value in extras.items() if chance.random() < 0.3}
        siblings = roots if parent is None else nodes[parent]["children"]
        nodes[node["id"]] = node
        siblings.append(node["id"])
        selected[parent or ""] = chance.choice([*siblings, None])
    return {
        "id": f"c{size}",
        "title": chance.choice(TEXTS),
        "model": "m",
        "mode": chance.choice(["chat", "text"]),
        "system": chance.choice(TEXTS),
        "created": 1,
        "updated": 2.5,
        "settings": {"temperature": 0.5, "stop": ["a"]},
        "nodes": nodes,
        "roots": roots,
        "selected": selected,
    }


def read(tab: Blank, text: str) -> Any:
    return tab.run(READ, text)


def file_of(*conversations: Any) -> str:
    return json.dumps({"format": "gptsmith-conversations", "version": 1, "conversations": conversations})


def test_trees_come_back_as_they_were_under_new_ids(tab: Blank) -> None:
    chance = random.Random(0)
    trees = [random_tree(chance, chance.randrange(60)) for _ in range(100)]
    text = tab.run(WRITE, trees)
    assert json.loads(text) == {"format": "gptsmith-conversations", "version": 1, "conversations": trees}
    found = read(tab, text)["conversations"]
    ids = {one.pop("id") for one in found}
    assert len(ids) == len(trees)
    assert not ids & {tree.pop("id") for tree in trees}
    assert found == trees


def test_a_conversation_that_this_page_made_is_read(tab: Blank) -> None:
    found = tab.run("""async () => {
      const {newConversation, addNode} = await import("/page/tree.js");
      const {toJson, fromJson} = await import("/page/files.js");
      const empty = newConversation();
      const talk = newConversation({model: "m", mode: "text", settings: {temperature: 1}});
      addNode(talk, addNode(talk, null, {role: "user", text: "a"}).id, {role: "assistant", finish: "stop"});
      const [one, other] = fromJson("\\ufeff" + toJson([empty, talk]));
      return [one.id !== empty.id, JSON.stringify({...one, id: 0}) === JSON.stringify({...empty, id: 0}), other, talk];
    }""")
    is_new, is_same, other, talk = found
    assert is_new
    assert is_same
    assert {**other, "id": 0} == {**talk, "id": 0}


def test_what_is_not_known_is_left_out(tab: Blank) -> None:
    tree = random_tree(random.Random(1), 3)
    more = copy.deepcopy(tree)
    more["onload"] = "alert(1)"
    for node in more["nodes"].values():
        node["html"] = "<b>"
    (found,) = read(tab, file_of(more))["conversations"]
    assert {**found, "id": tree["id"]} == tree


def chain() -> dict[str, Any]:
    """Three messages, one under the other."""
    node = {"role": "user", "text": "x", "created": 1}
    return {
        "id": "c",
        "title": "",
        "model": "m",
        "mode": "chat",
        "system": "",
        "created": 1,
        "updated": 1,
        "settings": {},
        "nodes": {
            "a": {**node, "id": "a", "parent": None, "children": ["b"]},
            "b": {**node, "id": "b", "parent": "a", "children": ["d"]},
            "d": {**node, "id": "d", "parent": "b", "children": []},
        },
        "roots": ["a"],
        "selected": {"": "a", "a": "b", "b": "d"},
    }


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


CHANGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda c: c.pop("title"), "its title is missing"),
    (lambda c: c.update(title=5), "its title is not a text"),
    (lambda c: c.update(title="x" * 10_001), "its title is too long"),
    (lambda c: c.update(model=None), "its model is not a text"),
    (lambda c: c.update(system=["x"]), "its system is not a text"),
    (lambda c: c.update(mode="image"), "its mode is neither chat nor text"),
    (lambda c: c.update(created="today"), "its time (created) is missing or no time"),
    (lambda c: c.update(updated=1e300), "its time (updated) is missing or no time"),
    (lambda c: c.update(settings=[]), "its settings are missing or not plain"),
    (lambda c: c.update(settings={"x": deep(20)}), "its settings are missing or not plain"),
    (lambda c: c.update(settings={"__proto__": {"x": 1}}), "its settings are missing or not plain"),
    (lambda c: c.pop("nodes"), "its messages are missing"),
    (lambda c: c.update(nodes=[]), "its messages are missing"),
    (lambda c: c.update(roots="a"), "its list of first messages is missing or no list of ids"),
    (lambda c: c.update(roots=[1]), "its list of first messages is missing or no list of ids"),
    (lambda c: c.update(roots=["z"]), "its list of first messages names a message that is not there"),
    (lambda c: c.update(roots=["toString"]), "its list of first messages names a message that is not there"),
    (lambda c: c.update(roots=["a", "b"]), "message 2: it stands in a place that is not its own"),
    (lambda c: c.update(roots=["a", "a"]), "message 1: it stands in two places"),
    (lambda c: c.update(roots=[]), "message 1: no way leads to it from the beginning"),
    (lambda c: c.pop("selected"), "which messages it shows is missing"),
    (lambda c: c["selected"].update({"": "b"}), "it shows a message in a place that is not its own"),
    (lambda c: c["selected"].update({"z": "b"}), "it shows a message in a place that is not its own"),
    (lambda c: c["selected"].update({"z": None}), "it shows a message in a place that is not its own"),
    (lambda c: c["selected"].update({"__proto__": "b"}), "it shows a message in a place that is not its own"),
    (lambda c: c["nodes"].update(b=None), "message 2 is not an object"),
    (lambda c: c["nodes"]["b"].update(id="a"), "message 2: its id is not the one that it is listed under"),
    (lambda c: c["nodes"].update({"x y": {}}), "message 4: its id is not letters, digits and dashes"),
    (lambda c: c["nodes"].update({"__proto__": {}}), "message 4: its id is not letters, digits and dashes"),
    (lambda c: c["nodes"].update({"constructor": {}}), "message 4: its id is not letters, digits and dashes"),
    (lambda c: c["nodes"]["b"].pop("text"), "message 2: its text is missing"),
    (lambda c: c["nodes"]["b"].update(text=["x"]), "message 2: its text is not a text"),
    (lambda c: c["nodes"]["b"].update(role="system"), "message 2: its role is neither user nor assistant"),
    (lambda c: c["nodes"]["b"].update(created=None), "message 2: its time is missing or no time"),
    (lambda c: c["nodes"]["b"].pop("parent"), "message 2: what it answers is missing"),
    (lambda c: c["nodes"]["b"].update(parent="d"), "message 2: it stands in a place that is not its own"),
    (lambda c: c["nodes"]["b"].pop("children"), "message 2: its list of answers is missing or no list of ids"),
    (
        lambda c: c["nodes"]["b"].update(children=["z"]),
        "message 2: its list of answers names a message that is not there",
    ),
    (lambda c: c["nodes"]["b"].update(children=["d", "d"]), "message 3: it stands in two places"),
    (lambda c: c["nodes"]["b"].update(children=[]), "message 3: no way leads to it from the beginning"),
    (lambda c: c["nodes"]["d"].update(tokens="x"), "message 3: its tokens cannot be read"),
    (lambda c: c["nodes"]["d"].update(tokens=[{"text": "a", "logprob": -1}]), "message 3: its tokens cannot be read"),
    (lambda c: c["nodes"]["d"].update(tokens=[{**TOKEN, "bytes": "x"}]), "message 3: its tokens cannot be read"),
    (lambda c: c["nodes"]["d"].update(figures={"seconds": "long"}), "message 3: its figures cannot be read"),
    (lambda c: c["nodes"]["d"].update(error={"kind": "gone"}), "message 3: its error cannot be read"),
    (lambda c: c["nodes"]["d"].update(tokens=[{**TOKEN, "more": deep(20)}]), "message 3: its tokens cannot be read"),
    (lambda c: c["nodes"]["d"].update(figures=[]), "message 3: its figures cannot be read"),
    (lambda c: c["nodes"]["d"].update(error=5), "message 3: its error cannot be read"),
    (lambda c: c["nodes"]["d"].update(finish={}), "message 3: its finish cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[f"{i}" for i in range(len(CHANGES))])
def test_what_is_wrong_is_said_with_its_place(
    tab: Blank, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    wrong = chain()
    change(wrong)
    said = read(tab, file_of(chain(), wrong))
    joint = ", " if message.startswith("message") else ": "
    assert said == {"error": f"conversation 2{joint}{message}", "isPlain": True}


def test_a_circle_of_messages_is_not_read(tab: Blank) -> None:
    circle = chain()
    circle["nodes"]["a"].update(parent="d", children=["b"])
    circle["nodes"]["d"].update(children=["a"])
    circle.update(roots=[], selected={"d": "a"})
    said = read(tab, file_of(circle))
    assert said["error"] == "conversation 1, message 1: no way leads to it from the beginning"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this file is not JSON"),
        ("{", "this file is not JSON"),
        ("null", "this file does not hold conversations of this page"),
        ("[]", "this file does not hold conversations of this page"),
        ('{"format": "chatgpt"}', "this file does not hold conversations of this page"),
        (
            '{"format": "gptsmith-conversations", "version": 2, "conversations": []}',
            "this file was written by a version of this page that is not known here",
        ),
        ('{"format": "gptsmith-conversations", "version": 1}', "this file has no list of conversations"),
        (file_of(5), "conversation 1 is not an object"),
        (file_of(*[0] * 10_001), "this file has more than 10000 conversations"),
    ],
)
def test_a_file_of_another_kind_is_not_read(tab: Blank, text: str, message: str) -> None:
    assert read(tab, text) == {"error": message, "isPlain": True}


def test_sizes_have_bounds(tab: Blank) -> None:
    found = tab.run("""async () => {
      const {fromJson} = await import("/page/files.js");
      const said = (make) => { try { return fromJson(make()); } catch (error) { return error.message; } };
      const nodes = Object.fromEntries(Array.from({length: 100001}, (_, i) => [`n${i}`, 0]));
      const many = {title: "", model: "", system: "", mode: "chat", created: 1, updated: 1, settings: {}, nodes};
      return [
        said(() => " ".repeat(200000001)),
        said(() => JSON.stringify({format: "gptsmith-conversations", version: 1, conversations: [many]})),
      ];
    }""")
    assert found == [
        "this file is too large: 200 million characters are read at most",
        "conversation 1 has more than 100000 messages",
    ]


def test_a_very_long_chain_is_read(tab: Blank) -> None:
    long = chain()
    names = [f"n{i}" for i in range(20_000)]
    node = {"role": "user", "text": "", "created": 1}
    long["nodes"] = {
        name: {**node, "id": name, "parent": names[i - 1] if i else None, "children": names[i + 1 : i + 2]}
        for i, name in enumerate(names)
    }
    long.update(roots=["n0"], selected={})
    found = tab.run(
        """async (text) => {
          const {fromJson} = await import("/page/files.js");
          return Object.keys(fromJson(text)[0].nodes).length;
        }""",
        file_of(long),
    )
    assert found == 20_000


def test_markdown_is_what_is_shown(tab: Blank) -> None:
    talk = chain()
    talk.update(title="A\n talk", model="smith", created=1_700_000_000_000)
    talk["nodes"]["a"]["text"] = "Why?\n"
    talk["nodes"]["b"].update(role="assistant", text="Because:\n\n- it is")
    talk["nodes"]["d"]["text"] = "not shown"
    talk["selected"].pop("b")
    assert tab.run(MARKDOWN, talk) == (
        "# A talk\n\nsmith, 2023-11-14\n\n## You\n\nWhy?\n\n## smith\n\nBecause:\n\n- it is\n"
    )


def test_a_text_is_itself(tab: Blank) -> None:
    talk = chain()
    talk.update(mode="text", model="smith", created=0)
    talk["nodes"]["a"]["text"] = "Once upon"
    talk["nodes"]["b"].update(role="assistant", text=" a time\n")
    talk["nodes"]["d"]["text"] = "there was"
    assert tab.run(MARKDOWN, talk) == "# Once upon\n\nsmith, 1970-01-01\n\nOnce upon a time\nthere was\n"
