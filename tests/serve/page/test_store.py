"""What a browser keeps of conversations."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Blank

STORE = """
  const {openStore} = await import("/page/store.js");
  const {newConversation, addNode} = await import("/page/tree.js");
  const talk = (id, updated, ...texts) => {
    const made = newConversation({model: "m"});
    let parent = null;
    for (const text of texts) parent = addNode(made, parent && parent.id, {role: "user", text});
    return Object.assign(made, {id, updated});
  };
  const ids = (list) => list.map(({id}) => id).join(" ");
"""
IN_MEMORY = """
  Object.defineProperty(window, "indexedDB", {value: {open() { throw new DOMException("no", "SecurityError"); }}});
"""
REFUSING = """
  Object.defineProperty(window, "indexedDB", {value: {open() {
    const request = {error: new DOMException("no", "InvalidStateError")};
    queueMicrotask(() => request.onerror());
    return request;
  }}});
"""
BOTH = pytest.mark.parametrize("before", ["", IN_MEMORY, REFUSING], ids=["lasting", "in memory", "refused"])


def run(page: Any, script: str, before: str = "") -> Any:
    return page.evaluate(f"async () => {{ {before} {STORE} {script} }}")


@BOTH
def test_conversations_are_kept_listed_and_removed(blank: Blank, before: str) -> None:
    found = run(
        blank.page,
        """
        const store = await openStore();
        const seen = [store.isLasting, ids(await store.list()), await store.get("a") === undefined];
        const a = talk("a", 1, "first");
        await store.put(a);
        await store.put(talk("b", 3, "second"));
        await store.put(Object.assign(talk("c", 2), {mode: "text", title: "third"}));
        a.title = "changed after it was kept";
        seen.push(await store.list());
        const got = await store.get("a");
        seen.push(got.title, Object.values(got.nodes)[0].text);
        got.roots = [];
        seen.push((await store.get("a")).roots.length);
        await store.put(Object.assign(got, {title: "new", updated: 9}));
        seen.push(ids(await store.list()));
        await store.remove("b");
        await store.remove("never there");
        seen.push(ids(await store.list()), await store.get("b") === undefined, ids(await store.search("second")));
        return seen;
        """,
        before,
    )
    summaries = [
        {"id": "b", "title": "second", "model": "m", "mode": "chat", "updated": 3},
        {"id": "c", "title": "third", "model": "m", "mode": "text", "updated": 2},
        {"id": "a", "title": "first", "model": "m", "mode": "chat", "updated": 1},
    ]
    assert found == [not before, "", True, summaries, "", "first", 1, "a b c", "a c", True, ""]


@BOTH
def test_all_words_are_searched_in_titles_and_texts(blank: Blank, before: str) -> None:
    found = run(
        blank.page,
        """
        const store = await openStore();
        await store.put(talk("a", 1, "The quick brown fox", "STRASSE"));
        await store.put(talk("b", 2, "Οδυσσεύς and the fox"));
        await store.put(Object.assign(talk("c", 3, "Cafe\\u0301"), {title: "Über Füchse"}));
        const look = async (words) => ids(await store.search(words));
        return [
          await look("fox"), await look("FOX quick"), await look("fox straße"), await look("quick odd"),
          await look("ΟΔΥΣΣΕΎΣ"), await look("über"), await look("café"), await look(" "),
          await look("new conversation"),
          (await store.search("füchse"))[0],
        ];
        """,
        before,
    )
    summary = {"id": "c", "title": "Über Füchse", "model": "m", "mode": "chat", "updated": 3}
    assert found == ["b a", "a", "a", "", "b", "c", "c", "c b a", "", summary]


def test_what_is_kept_is_there_after_the_page_was_left(blank: Blank) -> None:
    run(blank.page, "await (await openStore()).put(talk('a', 1, 'text'));")
    blank.page.reload()
    script = (
        "const store = await openStore(); return [await store.list(), Object.values((await store.get('a')).nodes)];"
    )
    (summary,), (node,) = run(blank.page, script)
    assert summary["title"] == node["text"] == "text"
    blank.page.reload()
    assert run(blank.page, "return ids(await (await openStore()).list());", IN_MEMORY) == ""


def test_a_list_reads_no_whole_conversation(blank: Blank) -> None:
    found = run(
        blank.page,
        """
        const store = await openStore();
        await store.put(talk("a", 1, "text"));
        const read = [];
        const {objectStore} = IDBTransaction.prototype;
        IDBTransaction.prototype.objectStore = function (name) {
          read.push(name);
          return objectStore.call(this, name);
        };
        await store.list();
        return read;
        """,
    )
    assert found == ["summaries"]


def test_another_tab_hears_of_what_changes(blank: Blank) -> None:
    other = blank.open()
    run(other, "window.heard = []; (await openStore()).onChange((id) => heard.push(id));")
    own = run(
        blank.page,
        """
        const store = await openStore();
        const heard = [];
        store.onChange((id) => heard.push(id));
        await store.put(talk("a", 1));
        await store.remove("a");
        await new Promise((done) => setTimeout(done, 100));
        return heard;
        """,
    )
    assert own == []
    assert run(other, "while (heard.length < 2) await new Promise((done) => setTimeout(done, 5)); return heard;") == [
        "a",
        "a",
    ]


def test_a_summary_is_never_kept_without_its_conversation(blank: Blank) -> None:
    found = run(
        blank.page,
        """
        const store = await openStore();
        await store.put(talk("a", 1, "old"));
        const {put} = IDBObjectStore.prototype;
        IDBObjectStore.prototype.put = function (value) {
          const request = put.call(this, value);
          if (this.name === "summaries") this.transaction.abort();
          return request;
        };
        const said = await store.put(talk("a", 2, "new")).catch((error) => error.message);
        return [said, (await store.list())[0].title, Object.values((await store.get("a")).nodes)[0].text];
        """,
    )
    assert found == ["this browser could not keep or read conversations: it gives no reason", "old", "old"]


def test_a_full_browser_is_said_in_words(blank: Blank) -> None:
    said = run(
        blank.page,
        """
        const store = await openStore();
        const error = new DOMException("no", "QuotaExceededError");
        Object.defineProperty(IDBTransaction.prototype, "error", {get: () => error});
        IDBObjectStore.prototype.put = function () {
          if (this.name === "summaries") this.transaction.abort();
        };
        return store.put(talk("a", 1)).catch((error) => [error.constructor === Error, error.message]);
        """,
    )
    message = "there is no room left in this browser: export conversations that you want to keep, and delete some"
    assert said == [True, message]


def test_copies_of_one_conversation_that_grew_apart_become_one(blank: Blank) -> None:
    found = blank.run("""async () => {
      const {openStore} = await import("/page/store.js");
      const {addNode, newConversation, path} = await import("/page/tree.js");
      const store = await openStore();
      const first = newConversation({model: "m"});
      const asked = addNode(first, null, {role: "user", text: "asked"});
      await store.put(first);
      const second = await store.get(first.id);
      addNode(first, asked.id, {role: "assistant", text: "one"});
      addNode(second, asked.id, {role: "assistant", text: "two"});
      first.nodes[asked.id].text = "changed";
      first.nodes[asked.id].changed = Date.now() + 1;
      Object.assign(second, {title: "newer", updated: first.updated + 10});
      await store.put(first);
      await store.put(second);
      await store.put(first);
      const kept = await store.get(first.id);
      return [kept, path(first).map(({text}) => text), path(second).map(({text}) => text)];
    }""")
    kept, first, second = found
    assert sorted(node["text"] for node in kept["nodes"].values()) == ["changed", "one", "two"]
    (root,) = kept["roots"]
    assert sorted(kept["nodes"][child]["text"] for child in kept["nodes"][root]["children"]) == ["one", "two"]
    assert kept["title"] == "newer"
    assert first == ["changed", "one"]
    assert second == ["changed", "two"]
