"""The longest pause of everybody else beside a single hostile request, for many kinds of them.

    python bench/pauses.py RUN [KIND ...]

RUN is a chat model. A server is started. While each hostile request is answered, one client asks for /health on a kept
connection without rest, and another reads a stream. Printed per kind: the status, how long its answer took, the slowest
/health, the longest gap between two tokens of the stream, and the memory of the server.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable

from served import asked, memory_mb, server

BODY_BYTES = 1_900_000
CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
TURN = b'{"role":"user","content":"a"}'


def filled(before: bytes, unit: bytes, after: bytes) -> bytes:
    """A body of the longest allowed length: so many units, with commas between them."""
    count = (BODY_BYTES - len(before) - len(after)) // (len(unit) + 1)
    return before + b",".join([unit] * count) + after


def named(before: bytes, after: bytes, value: bytes = b"1") -> bytes:
    """A body of very many names."""
    return before + b",".join(b'"k%d":' % number + value for number in range(140_000)) + after


def text(before: bytes, unit: str, after: bytes) -> bytes:
    """A body with one long string."""
    return before + json.dumps(unit * (BODY_BYTES // len(unit.encode()))).encode() + after


def function(parameters: bytes) -> bytes:
    return (
        b'{"model":"m","messages":[' + TURN + b'],"tools":[{"type":"function","function":{"name":"f","parameters":'
        + parameters + b"}}]}"
    )  # fmt: skip


def answer_format(schema: bytes) -> bytes:
    return (
        b'{"model":"m","messages":[' + TURN + b'],"response_format":{"type":"json_schema","json_schema":{"name":"n",'
        b'"schema":' + schema + b"}}}"
    )


CONTENT = b'{"model":"m","max_tokens":4,"messages":[{"role":"user","content":'
PROMPT = b'{"model":"m","max_tokens":4,"prompt":'
KINDS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "nothing": lambda: (CHAT, b"{}"),
    "items_empty": lambda: (RESPONSES, filled(b'{"model":"m","input":[', b"{}", b"]}")),
    "items": lambda: (RESPONSES, filled(b'{"model":"m","input":[', TURN, b"]}")),
    "items_few": lambda: (RESPONSES, b'{"model":"m","input":[' + b",".join([TURN] * 9000) + b"]}"),
    "messages_empty": lambda: (CHAT, filled(b'{"model":"m","messages":[', b"{}", b"]}")),
    "messages": lambda: (CHAT, filled(b'{"model":"m","messages":[', TURN, b"]}")),
    "messages_few": lambda: (CHAT, b'{"model":"m","messages":[' + b",".join([TURN] * 9000) + b"]}"),
    "messages_few_truncated": lambda: (
        CHAT, b'{"model":"m","truncation":"auto","max_tokens":4,"messages":[' + b",".join([TURN] * 9000) + b"]}"
    ),
    "prompt_lists": lambda: (COMPLETIONS, filled(b'{"model":"m","prompt":[', b"[]", b"]}")),
    "prompt_ids": lambda: (COMPLETIONS, filled(b'{"model":"m","prompt":[', b"1", b"]}")),
    "prompt_strings": lambda: (COMPLETIONS, filled(b'{"model":"m","prompt":[', b'""', b"]}")),
    "unknown_fields": lambda: (CHAT, named(b'{"model":"m","messages":[' + TURN + b"],", b"}")),
    "unknown_inside": lambda: (CHAT, named(b'{"model":"m","messages":[{"role":"user","content":"a",', b"}]}")),
    "logit_bias": lambda: (COMPLETIONS, named(PROMPT + b'"a","logit_bias":{', b"}}")),
    "metadata": lambda: (CHAT, named(b'{"model":"m","messages":[' + TURN + b'],"metadata":{', b"}}")),
    "words": lambda: (CHAT, text(CONTENT, "the quick brown fox ", b"}]}")),
    "words_truncated": lambda: (CHAT, text(b'{"truncation":"auto",' + CONTENT[1:], "the quick brown fox ", b"}]}")),
    "letters": lambda: (CHAT, text(CONTENT, "a", b"}]}")),
    "spaces": lambda: (CHAT, text(CONTENT, " ", b"}]}")),
    "signs": lambda: (CHAT, text(CONTENT, "!?", b"}]}")),
    "emoji": lambda: (CHAT, text(CONTENT, "\U0001f926", b"}]}")),
    "private_use": lambda: (CHAT, text(CONTENT, "\ue000", b"}]}")),
    "brackets": lambda: (CHAT, text(CONTENT, "{[,", b"}]}")),
    "completion_words": lambda: (COMPLETIONS, text(PROMPT, "the quick brown fox ", b"}")),
    "completion_truncated": lambda: (COMPLETIONS, text(PROMPT, "the quick brown fox ", b',"truncation":"auto"}')),
    "tokenize": lambda: ("/tokenize", text(b'{"model":"m","return_token_strs":true,"prompt":', "a 1 ", b"}")),
    "detokenize": lambda: ("/detokenize", filled(b'{"model":"m","tokens":[', b"99", b"]}")),
    "embeddings": lambda: ("/v1/embeddings", text(b'{"model":"m","input":', "the quick brown fox ", b"}")),
    "embeddings_context": lambda: (
        "/v1/embeddings", b'{"model":"m","input":[' + b",".join([b"99"] * CONTEXT) + b"]}"
    ),
    "embeddings_ids": lambda: ("/v1/embeddings", filled(b'{"model":"m","input":[', b"1", b"]}")),
    "prompt_context": lambda: (
        COMPLETIONS, b'{"model":"m","max_tokens":1,"prompt":[' + b",".join([b"99"] * (CONTEXT - 2)) + b"]}"
    ),
    "stop": lambda: (COMPLETIONS, text(PROMPT + b'"a","ignore_eos":true,"stop":', "ab", b"}")),
    "stops": lambda: (
        COMPLETIONS, PROMPT + b'"a","ignore_eos":true,"stop":['
        + b",".join([json.dumps("ab" * 5_000).encode()] * 16) + b"]}"
    ),
    "top_logprobs": lambda: (
        CHAT, b'{"model":"m","messages":[' + TURN + b'],"max_tokens":200,"n":8,"logprobs":true,"top_logprobs":20}'
    ),
    "echo_logprobs": lambda: (
        COMPLETIONS, b'{"model":"m","max_tokens":1,"echo":true,"logprobs":20,"prompt":['
        + b",".join([b"99"] * (CONTEXT - 2)) + b"]}"
    ),
    "schema_names": lambda: (
        CHAT, answer_format(named(b'{"type":"object","properties":{', b"}}", b"true")[:BODY_BYTES])
    ),
    "schema_enum": lambda: (CHAT, answer_format(filled(b'{"enum":[', b'"abc"', b"]}"))),
    "tool_enum": lambda: (CHAT, function(filled(b'{"type":"object","properties":{"a":{"enum":[', b'"abc"', b"]}}}"))),
    "schema_pattern": lambda: (CHAT, answer_format(text(b'{"type":"string","pattern":', "(a|b)*", b"}"))),
    "schema_repeat": lambda: (CHAT, answer_format(b'{"type":"string","pattern":"((a{1,900}){1,900}){1,900}"}')),
    "name": lambda: (CHAT, text(b'{"messages":[],"model":', "m", b"}")),
}  # fmt: skip
CONTEXT = 0


class Watcher:
    """Two clients that notice every pause."""

    def __init__(self, port: int, model: str) -> None:
        self.port, self.model, self.is_over = port, model, False
        self.health_s = self.gap_s = 0.0
        self.num_tokens = 0
        self.threads = [threading.Thread(target=work) for work in (self.ask, self.read)]

    def ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while not self.is_over:
            begun = time.perf_counter()
            connection.request("GET", "/health")
            connection.getresponse().read()
            self.health_s = max(self.health_s, time.perf_counter() - begun)
            time.sleep(0.002)
        connection.close()

    def read(self) -> None:
        body = {"model": self.model, "prompt": "Once", "max_tokens": 4000, "ignore_eos": True, "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", COMPLETIONS, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        last = None
        while not self.is_over and response.readline():
            now = time.perf_counter()
            if last is not None:
                self.gap_s = max(self.gap_s, now - last)
            last, self.num_tokens = now, self.num_tokens + 1
        connection.close()


def main(run: str, *kinds: str) -> None:
    global CONTEXT
    with server(run) as (port, process):
        card = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]
        CONTEXT = card["gptsmith"]["context_length"]
        print(f"{'kind':24} {'status':>6} {'answer':>8} {'health':>8} {'gap':>8} {'memory':>9}")
        for kind in kinds or KINDS:
            path, body = KINDS[kind]()
            body = body.replace(b'"model":"m"', b'"model":' + json.dumps(card["id"]).encode())
            watcher = Watcher(port, card["id"])
            for thread in watcher.threads:
                thread.start()
            while watcher.num_tokens < 5:
                time.sleep(0.01)
            watcher.health_s = watcher.gap_s = 0.0
            begun = time.perf_counter()
            status, answer = asked(port, "POST", path, body)
            answer_s = time.perf_counter() - begun
            time.sleep(0.3)
            watcher.is_over = True
            for thread in watcher.threads:
                thread.join()
            print(
                f"{kind:24} {status:6} {answer_s:6.2f} s {1000 * watcher.health_s:5.0f} ms "
                f"{1000 * watcher.gap_s:5.0f} ms {memory_mb(process):6.0f} MB",
                answer[:100].decode("utf-8", "replace") if status >= 400 else "",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
