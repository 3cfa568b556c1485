"""How much slower a text is written beside explanations: one stream, alone and while words are explained, in turn.

python bench/explain_beside.py RUN [TOKENS]        a stream of 200 tokens by default; prompts of 150 words
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import threading
import time
from itertools import pairwise

from served import asked, server

ROUNDS = 3
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


def explain(port: int, model: str) -> float:
    """The seconds that one explanation takes."""
    body = {"model": model, "prompt": PROMPT, "reply": " The smith", "start": 4, "by": "words"}
    begun = time.perf_counter()
    status, data = asked(port, "POST", "/v1/explain", json.dumps(body))
    assert status == 200, data
    return time.perf_counter() - begun


def main(run: str, num_tokens: str = "200") -> None:
    with server(run) as (port, _):
        model = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]["id"]
        stream(port, model, 20)
        alone_s = explain(port, model)
        quiet: list[float] = []
        beside: list[float] = []
        took: list[float] = []
        for _ in range(ROUNDS):
            quiet += stream(port, model, int(num_tokens))
            is_over = threading.Event()

            def explain_on(is_over: threading.Event = is_over) -> None:
                while not is_over.is_set():
                    took.append(explain(port, model))

            thread = threading.Thread(target=explain_on)
            thread.start()
            beside += stream(port, model, int(num_tokens))
            is_over.set()
            thread.join()
        words, beside_s = len(PROMPT.split()), statistics.median(took)
        print(f"an explanation of {words} words: {alone_s:.2f} s alone, {beside_s:.2f} s beside")
        print(
            f"a token: {1e3 * statistics.mean(quiet):.2f} ms alone, {1e3 * statistics.mean(beside):.2f} ms beside: "
            f"{statistics.mean(beside) / statistics.mean(quiet):.2f} times; the longest wait "
            f"{1e3 * max(quiet):.0f} ms and {1e3 * max(beside):.0f} ms"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
