"""Conversations that branch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Blank

TREE = """
  const tree = await import("/page/tree.js");
  const {newConversation, addNode, path, siblings, select, step, titleOf, newId} = tree;
  const talk = newConversation({model: "m", mode: "chat", system: "Be brief.", settings: {temperature: 0.5}});
  const say = (parent, text, role = "user") => addNode(talk, parent && parent.id, {role, text});
  const texts = () => path(talk).map(({text}) => text).join(" ");
"""


def run(tab: Blank, script: str) -> Any:
    return tab.run(f"async () => {{ {TREE} {script} }}")


def test_a_conversation_is_plain_data(tab: Blank) -> None:
    talk, again = run(
        tab,
        """
        const a = say(null, "a");
        addNode(talk, a.id, {role: "assistant", text: "b", tokens: [1], figures: {x: 2}, id: "mine", parent: "no"});
        return [talk, JSON.parse(JSON.stringify(talk))];
        """,
    )
    assert talk == again
    assert set(talk) == {
        "id", "title", "model", "mode", "system", "created", "updated", "settings", "nodes", "roots", "selected",
    }  # fmt: skip
    assert (talk["model"], talk["mode"], talk["system"]) == ("m", "chat", "Be brief.")
    assert talk["settings"] == {"temperature": 0.5}
    (root,) = talk["roots"]
    first = talk["nodes"][root]
    (child,) = first["children"]
    second = talk["nodes"][child]
    assert first == {**first, "id": root, "parent": None, "role": "user", "text": "a"}
    assert second == {**second, "id": child, "parent": root, "children": [], "tokens": [1], "figures": {"x": 2}}
    assert talk["selected"] == {"": root, root: child}
    assert all(isinstance(node["created"], int) for node in talk["nodes"].values())


def test_the_path_runs_along_what_is_selected(tab: Blank) -> None:
    found = run(
        tab,
        """
        const seen = [texts()];
        const a = say(null, "a"), b = say(a, "b"), c = say(b, "c");
        seen.push(texts());
        const other = say(a, "B");
        seen.push(texts(), JSON.stringify([siblings(talk, b.id).index, siblings(talk, other.id).index]));
        seen.push(siblings(talk, b.id).ids.length);
        const last = say(other, "C");
        seen.push(texts());
        seen.push(step(talk, other.id, -1) === b, texts());
        seen.push(step(talk, b.id, -1), texts());
        seen.push(step(talk, b.id, 1) === other, texts());
        seen.push(step(talk, other.id, 1), texts());
        const root = say(null, "A");
        seen.push(texts());
        select(talk, c.id);
        seen.push(texts());
        seen.push(step(talk, a.id, 1) === root, step(talk, root.id, -1) === a, texts());
        return seen;
        """,
    )
    assert found == [
        "", "a b c", "a B", "[0,1]", 2, "a B C", True, "a b c", None, "a b c", True, "a B C", None, "a B C", "A",
        "a b c", True, True, "a b c",
    ]  # fmt: skip


def test_an_addition_is_new_and_choosing_is_not(tab: Blank) -> None:
    found = run(
        tab,
        """
        talk.updated = 0;
        const a = say(null, "a"), b = say(null, "b");
        const then = talk.updated;
        talk.updated = 1;
        select(talk, a.id);
        step(talk, a.id, 1);
        return [then > 1e12, talk.updated];
        """,
    )
    assert found == [True, 1]


def test_ids_differ_and_need_no_secure_page(blank: Blank) -> None:
    ids = run(
        blank,
        """
        Object.defineProperty(crypto, "randomUUID", {value: undefined});
        return Array.from({length: 1000}, newId);
        """,
    )
    assert len(set(ids)) == 1000
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in ids)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", "New conversation"),
        (" \n ", "New conversation"),
        ("\n  Hello there \nsecond line", "Hello there"),
        ("one\rtwo", "one"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60),
        ("👩‍👩‍👧‍👦" * 61, "👩‍👩‍👧‍👦" * 60),
        ("e\u0301" * 70, "e\u0301" * 60),
        ("ab " * 30, ("ab " * 20).rstrip()),
    ],
)
def test_a_conversation_is_called_by_its_first_text(tab: Blank, text: str, title: str) -> None:
    assert run(tab, f"say(null, {json.dumps(text)}); return titleOf(talk);") == title


def test_a_title_that_is_given_is_kept_whole(tab: Blank) -> None:
    title = "t" * 80
    assert run(tab, f"say(null, 'a'); talk.title = '{title}'; return titleOf(talk);") == title
    assert run(tab, "say(say(null, 'I am', 'assistant'), 'you'); return titleOf(talk);") == "you"
    assert run(tab, "return titleOf(talk);") == "New conversation"
