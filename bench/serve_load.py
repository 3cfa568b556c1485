"""Tokens per second and time to first token of a server under load, as vLLM's `bench serve` measures them: random
prompts of one length, all tokens wanted, so many clients at once.

    python bench/serve_load.py RUN [CLIENTS ...]        1, 8 and 32 by default; prompts of 128 tokens, 64 tokens each
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import sys
import threading
import time

from served import asked, memory_mb, server

PROMPT_TOKENS, NUM_TOKENS = 128, 64
ROUNDS = {1: 8, 8: 3}


def client(port: int, model: str, vocab_size: int, chance: random.Random, rounds: int, firsts: list[float]) -> None:
    """Streams completions, one after the other, and notes when each first token came."""
    for _ in range(rounds):
        prompt = [chance.randrange(min(vocab_size, 1000)) for _ in range(PROMPT_TOKENS)]
        body = {"model": model, "prompt": prompt, "max_tokens": NUM_TOKENS, "ignore_eos": True, "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        begun = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.readline()
        firsts.append(time.perf_counter() - begun)
        answer.read()
        connection.close()


def main(run: str, *clients: str) -> None:
    with server(run) as (port, process):
        card = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]
        client(port, card["id"], card["gptsmith"]["vocab_size"], random.Random(0), 1, [])  # warm
        for count in map(int, clients or ("1", "8", "32")):
            firsts: list[float] = []
            rounds = ROUNDS.get(count, 1)
            threads = [
                threading.Thread(
                    target=client,
                    args=(port, card["id"], card["gptsmith"]["vocab_size"], random.Random(number), rounds, firsts),
                )
                for number in range(count)
            ]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.perf_counter() - begun
            p50, p99 = statistics.median(firsts), statistics.quantiles(firsts, n=100, method="inclusive")[98]
            print(
                f"{count:3} clients: {count * rounds * NUM_TOKENS / seconds:7.1f} tokens per second, first token p50 "
                f"{1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms; {memory_mb(process):.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
