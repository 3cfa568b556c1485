"""Ten sorts of bad clients beside good ones: is any good request lost, does memory grow, does anything stay behind?

    python bench/soak.py RUN [SECONDS]        600 by default; RUN is a chat model

Passes if every good request is answered (a 429 is asked again after its Retry-After), memory is flat after the first
fifth, the server answers all the time, and all gauges are 0 again at the end. Exits with 1 if not.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pauses import KINDS
from served import asked, memory_mb, server

NUM_GOOD = 4
GAUGES = ("gptsmith_requests_in_progress", "gptsmith_num_requests_running", "gptsmith_num_requests_waiting")
GROWTH, GROWTH_MB = 1.1, 50.0
END_S = 90.0
HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
CHEAP_KINDS = (
    "items_empty", "messages_empty", "prompt_lists", "prompt_ids", "unknown_fields", "logit_bias", "metadata", "words",
    "letters", "spaces", "embeddings", "embeddings_ids", "detokenize", "name",
)  # fmt: skip


class Soak:
    """The clients of one soak, and what happened to them."""

    def __init__(self, port: int, model: str) -> None:
        self.port, self.model, self.is_over = port, model, False
        self.seconds: list[float] = []
        self.lost: list[str] = []
        self.counts: Counter[str] = Counter()

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def send(self, connection: socket.socket, path: str, body: dict[str, Any]) -> None:
        data = json.dumps({"model": self.model, **body}).encode()
        connection.sendall(HEAD.format(path=path, length=len(data)).encode() + data)

    def good(self, number: int) -> None:
        """A chat after the other, in turn as a stream and whole."""
        chance = random.Random(number)
        while not self.is_over:
            stream = chance.random() < 0.5
            body = {
                "model": self.model, "messages": [{"role": "user", "content": f"{chance.randrange(99)}: a nail?"}],
                "max_tokens": chance.randint(4, 40), "stream": stream,
            }  # fmt: skip
            begun = time.perf_counter()
            for _ in range(20):
                status, retry_after_s, answer = self.ask(body)
                if status != 429:
                    break
                self.counts["good, asked again"] += 1
                time.sleep(retry_after_s)
            if status != 200 or (b"[DONE]" not in answer if stream else b'"finish_reason"' not in answer):
                self.lost.append(f"{status} {answer[-200:]!r}")
            self.seconds.append(time.perf_counter() - begun)
            time.sleep(chance.random() / 20)

    def ask(self, body: dict[str, Any]) -> tuple[int, float, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            answer = connection.getresponse()
            return answer.status, float(answer.getheader("retry-after", "1")), answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, 0.0, repr(error).encode()
        finally:
            connection.close()

    def bad(self, sort: Callable[[random.Random], None]) -> None:
        """One sort of bad client, again and again."""
        chance = random.Random(sort.__name__)
        while not self.is_over:
            with suppress(OSError, http.client.HTTPException):  # it was cut off, as it should be
                sort(chance)
            self.counts[sort.__name__] += 1
            time.sleep(chance.random() / 10)

    def silent(self, chance: random.Random) -> None:
        connections = [self.connect() for _ in range(10)]
        time.sleep(2 * chance.random())
        for connection in connections:
            connection.close()

    def slow(self, chance: random.Random) -> None:
        with self.connect() as connection:
            for byte in b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{":
                connection.sendall(bytes([byte]))
                time.sleep(0.02)

    def leaving(self, chance: random.Random) -> None:
        with self.connect() as connection:
            self.send(
                connection, "/v1/completions", {"prompt": "a", "max_tokens": 500, "stream": chance.random() < 0.7}
            )
            if chance.random() < 0.7:
                connection.recv(chance.randint(1, 2000))

    def deaf(self, chance: random.Random) -> None:
        with self.connect(receive_bytes=2048) as connection:
            body = {"prompt": "a", "max_tokens": 600, "n": 4, "logprobs": 5, "stream": True, "ignore_eos": True}
            self.send(connection, "/v1/completions", body)
            time.sleep(3 * chance.random())

    def mutated(self, chance: random.Random) -> None:
        body = bytearray(json.dumps({"model": self.model, "messages": [{"role": "user", "content": "a"}]}).encode())
        for _ in range(chance.randint(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        asked(self.port, "POST", chance.choice(["/v1/chat/completions", "/v1/responses", "/tokenize"]), bytes(body))

    def heavy(self, chance: random.Random) -> None:
        path, body = KINDS[chance.choice(CHEAP_KINDS)]()
        asked(self.port, "POST", path, body.replace(b'"model":"m"', b'"model":' + json.dumps(self.model).encode()))

    def large(self, chance: random.Random) -> None:
        asked(self.port, "POST", "/v1/completions", b"x" * 3_000_000)

    def noise(self, chance: random.Random) -> None:
        with self.connect() as connection:
            connection.sendall(chance.randbytes(chance.randint(1, 4000)))
            connection.recv(1000)

    def impostor(self, chance: random.Random) -> None:
        odd = ["", "http://[", "junk", "evil.example", "http://evil.example", "\xff", "a" * 5000, "[::1]:99999"]
        names = ("Host", "Origin", "Authorization", "Accept", "Transfer-Encoding", "Expect", "Connection", "Range")
        headers = {chance.choice(names): chance.choice(odd) for _ in range(3)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                chance.choice(["GET", "POST", "PUT"]), chance.choice(["/", "/metrics", "/x"]), "{}", headers
            )
            status = connection.getresponse().status
            if status >= 500:
                self.lost.append(f"{status} for {headers}")
        except http.client.HTTPException:
            pass
        finally:
            connection.close()

    def extreme(self, chance: random.Random) -> None:
        fields: list[dict[str, Any]] = [
            {"temperature": 1e-300}, {"top_p": 1e-46}, {"repetition_penalty": 1e-38}, {"n": 16}, {"top_k": 2**31 - 1},
            {"stop": ["ab" * 5000] * 16}, {"logit_bias": {str(number): -100 for number in range(300)}}, {"min_p": 1.0},
            {"max_tokens": 2**31 - 1}, {"prompt": "\ue000" * 3000}, {"prompt": [0] * 700}, {"seed": -(2**63)},
        ]  # fmt: skip
        body = {"model": self.model, "prompt": "a", "max_tokens": 8, **chance.choice(fields), **chance.choice(fields)}
        status, answer = asked(self.port, "POST", "/v1/completions", json.dumps(body).encode())
        if status >= 500:
            self.lost.append(f"{status} for {body}: {answer[:200]!r}")


def gauges(port: int) -> dict[str, float]:
    """The gauges that must be 0 when nobody asks, but for the request that reads them."""
    found = dict.fromkeys(GAUGES, 0.0)
    for line in asked(port, "GET", "/metrics")[1].decode().splitlines():
        for name in GAUGES:
            if line.startswith((f"{name} ", f"{name}{{")):
                found[name] += float(line.rsplit(" ", 1)[1]) - (name == GAUGES[0])
    return found


def main(run: str, seconds: str = "600") -> None:
    duration_s = float(seconds)
    with server(run) as (port, process):
        soak = Soak(port, json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]["id"])
        sorts = (
            soak.silent, soak.slow, soak.leaving, soak.deaf, soak.mutated, soak.heavy, soak.large, soak.noise,
            soak.impostor, soak.extreme,
        )  # fmt: skip
        threads = [threading.Thread(target=soak.good, args=(number,)) for number in range(NUM_GOOD)]
        threads += [threading.Thread(target=soak.bad, args=(sort,)) for sort in sorts]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        early_mb, late_mb = 0.0, 0.0
        while (passed_s := time.monotonic() - begun) < duration_s:
            time.sleep(min(1.0, duration_s))
            if passed_s < duration_s / 5:
                early_mb = max(early_mb, memory_mb(process))
            elif passed_s > duration_s * 4 / 5:
                late_mb = max(late_mb, memory_mb(process))
        soak.is_over = True
        for thread in threads:
            thread.join()
        ended = time.monotonic()
        while any((left := gauges(port)).values()) and time.monotonic() - ended < END_S:
            time.sleep(0.5)
    ordered = sorted(soak.seconds)
    print(
        f"{len(ordered)} good requests, {len(soak.lost)} lost; p50 {1000 * statistics.median(ordered):.0f} ms, "
        f"p99 {1000 * ordered[int(0.99 * (len(ordered) - 1))]:.0f} ms; memory {early_mb:.0f} MB early, "
        f"{late_mb:.0f} late; gauges {left} after {time.monotonic() - ended:.1f} s"
    )
    print(", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    for problem in soak.lost[:10]:
        print(problem)
    is_flat = late_mb <= GROWTH * early_mb + GROWTH_MB
    if soak.lost or not is_flat or any(left.values()):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
