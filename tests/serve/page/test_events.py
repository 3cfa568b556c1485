"""Events of a stream, wherever it is split."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from .conftest import Blank

RUN = """async ([pieces, most]) => {
  const {events} = await import("/page/events.js");
  const read = async (sizes) => {
    let cancelled = false;
    const left = sizes.map((piece) => new Uint8Array(piece));
    const stream = new ReadableStream({
      pull(controller) {
        if (left.length) controller.enqueue(left.shift());
        else controller.close();
      },
      cancel() { cancelled = true; },
    });
    const found = [];
    for await (const one of events(stream)) {
      found.push(one);
      if (found.length === most) break;
    }
    return {found, cancelled};
  };
  return Promise.all(pieces.map(read));
}"""
SAMPLE = (
    '\ufeff: ping\r\n\r\ndata: héllo 😀\r\ndata:  wörld\r\revent: response.done\rdata:{"a": "日本"}\r\n\r\n'
    ":\n\nid: 7\nretry: 10\nnonsense\ndata\n\nevent: lost\n\ndata: [DONE]\n\ndata: cut off\n"
).encode()
EVENTS = [
    {"event": "message", "data": "héllo 😀\n wörld"},
    {"event": "response.done", "data": '{"a": "日本"}'},
    {"event": "message", "data": ""},
    {"event": "message", "data": "[DONE]"},
]


def read(tab: Blank, streams: list[list[bytes]], most: int = -1) -> list[dict[str, Any]]:
    pieces = [[list(piece) for piece in stream] for stream in streams]
    found: list[dict[str, Any]] = tab.run(RUN, [pieces, most])
    return found


def pieces_of(data: bytes, *ends: int) -> list[bytes]:
    bounds = [0, *sorted(ends), len(data)]
    return [data[low:high] for low, high in pairwise(bounds)]


def test_every_split_gives_the_same_events(tab: Blank) -> None:
    ends = range(len(SAMPLE) + 1)
    streams = [pieces_of(SAMPLE, end) for end in ends] + [pieces_of(SAMPLE, end, end) for end in ends]
    streams.append([bytes([byte]) for byte in SAMPLE])
    assert all(one["found"] == EVENTS for one in read(tab, streams))


def test_many_pieces_give_the_same_events(tab: Blank) -> None:
    chance = random.Random(0)
    streams = [
        pieces_of(SAMPLE, *(chance.randrange(len(SAMPLE) + 1) for _ in range(chance.randrange(2, 30))))
        for _ in range(300)
    ]
    assert all(one["found"] == EVENTS for one in read(tab, streams))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data: a\n\n", ["a"]),
        ("data:  a\n\n", [" a"]),
        ("data:a:b\n\n", ["a:b"]),
        ("data\n\ndata\ndata\n\ndata:\n", ["", "\n"]),
        ("data : a\n\nDATA: a\n\n data: a\n\n", []),
        ("data: a\r\rdata: b\n\ndata: c\r\n\r\n", ["a", "b", "c"]),
        ("data: a\u2028b\x0bc\u0085d\n\n", ["a\u2028b\x0bc\u0085d"]),
        ("data: a\n\ndata: \ufeffb\n\n", ["a", "\ufeffb"]),
        ("data: a\n", []),
        ("data: a", []),
        ("\n\n\r\n\r\r", []),
        ("", []),
    ],
)
def test_lines_are_read_by_the_standard(tab: Blank, text: str, data: list[str]) -> None:
    ((one),) = read(tab, [[text.encode()]])
    assert [event["data"] for event in one["found"]] == data


def test_bytes_that_are_no_utf_8_are_replaced(tab: Blank) -> None:
    (one,) = read(tab, [[b"data: a\xffb\n\n"]])
    assert one["found"] == [{"event": "message", "data": "a\ufffdb"}]


def test_an_event_comes_once_its_end_is_there(tab: Blank) -> None:
    """Also where that end is a carriage return that a line feed may follow."""
    found = tab.run("""async () => {
      const {events} = await import("/page/events.js");
      let controller;
      const stream = new ReadableStream({start(one) { controller = one; }});
      const reading = events(stream);
      controller.enqueue(new TextEncoder().encode("data: a\\r\\r"));
      const first = await reading.next();
      controller.enqueue(new TextEncoder().encode("\\ndata: b\\n\\n"));
      return [first.value.data, (await reading.next()).value.data];
    }""")
    assert found == ["a", "b"]


def test_leaving_early_cancels_the_stream(tab: Blank) -> None:
    (one,) = read(tab, [pieces_of(SAMPLE, 60)], most=1)
    assert one["cancelled"]
    (whole,) = read(tab, [[SAMPLE]])
    assert not whole["cancelled"]


def test_a_stream_that_fails_says_so(tab: Blank) -> None:
    found = tab.run("""async () => {
      const {events} = await import("/page/events.js");
      const stream = new ReadableStream({pull(controller) { controller.error(new Error("the line is down")); }});
      try {
        for await (const one of events(stream)) return one;
      } catch (error) {
        return error.message;
      }
    }""")
    assert found == "the line is down"
