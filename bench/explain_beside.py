"""How much slower a text is written beside explanations: one stream, alone and while words are explained, in turn.

python bench/explain_beside.py RUN [TOKENS]        a stream of 200 tokens by default; prompts of 154 words
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise

from served import asked, server

ROUNDS = 15
SENTENCE = "The old smith who lives beside the river forges a sword of iron for the young king, and sells it to him."
PROMPT = " ".join([SENTENCE] * 7)


def stream(port: int, model: str, num_tokens: int) -> list[float]:
    """The seconds between the tokens of one text."""
    body = {"model": model, "prompt": "The", "max_tokens": num_tokens, "ignore_eos": True, "stream": True, "seed": 1}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    came = [time.perf_counter() for line in answer if line.startswith(b"data: {")]
    connection.close()
    return [after - before for before, after in pairwise(came)]


class Explaining(threading.Thread):
    """Asks for one explanation after the other, until it is closed, which gives the last one up."""

    def __init__(self, port: int, model: str) -> None:
        super().__init__()
        self.body = json.dumps({"model": model, "prompt": PROMPT, "reply": " The smith", "start": 4, "by": "words"})
        self.port, self.is_over, self.asked = port, False, threading.Event()

    def run(self) -> None:
        while not self.is_over:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            with suppress(OSError, http.client.HTTPException, AttributeError):
                self.connection.request("POST", "/v1/explain", self.body)
                self.asked.set()
                answer = self.connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()

    def close(self) -> None:
        self.is_over = True
        if self.connection.sock is not None:
            self.connection.sock.shutdown(2)
        self.join()


def main(run: str, num_tokens: str = "200") -> None:
    with server(run) as (port, _):
        model = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]["id"]
        stream(port, model, 20)
        rows = []
        for _ in range(ROUNDS):
            alone = stream(port, model, int(num_tokens))
            explaining = Explaining(port, model)
            explaining.start()
            explaining.asked.wait()
            beside = stream(port, model, int(num_tokens))
            explaining.close()
            rows.append((statistics.mean(alone), statistics.mean(beside), max(alone), max(beside)))
        ratios = sorted(beside / alone for alone, beside, *_ in rows)
        alone_s, beside_s, *longest = (1e3 * statistics.median(column) for column in zip(*rows, strict=True))
        print(f"a token: {alone_s:.2f} ms alone, {beside_s:.2f} ms beside; longest waits", *map(round, longest), "ms")
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"times as long: {beside_s / alone_s:.2f}; by rounds {middle:.2f} (quartiles {low:.2f} and {high:.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
