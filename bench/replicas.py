"""Tokens per second of one replica and of several, each of one thread, and of one server with as many threads as there
are replicas.

    python bench/replicas.py RUN [REPLICAS] [CLIENTS ...]        2 replicas, 1 and 8 clients per replica by default
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import threading
import time

from serve_load import NUM_TOKENS, client
from served import asked, server

ROUNDS = 3
TRIES = 3


def tokens_per_second(port: int, model: str, vocab_size: int, num_clients: int, seed: int) -> float:
    """What so many clients get together."""
    firsts: list[float] = []
    threads = [
        threading.Thread(
            target=client, args=(port, model, vocab_size, random.Random(1000 * seed + number), ROUNDS, firsts)
        )
        for number in range(num_clients)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return num_clients * ROUNDS * NUM_TOKENS / (time.perf_counter() - begun)


def measured(run: str, num_replicas: int, num_threads: int, clients: list[int]) -> list[float]:
    """The median of some tries for each number of clients."""
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    found = []
    with server(run, "--replicas", str(num_replicas)) as (port, _):
        card = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]
        place = (port, card["id"], card["gptsmith"]["vocab_size"])
        tokens_per_second(*place, 2 * num_replicas, 0)  # warm
        for count in clients:
            found.append(statistics.median(tokens_per_second(*place, count, seed) for seed in range(1, TRIES + 1)))
    return found


def main(run: str, replicas: str = "2", *clients: str) -> None:
    count = int(replicas)
    counts = [int(given) for given in clients] or [count, 8 * count]
    one, wide, many = (measured(run, *setting, counts) for setting in ((1, 1), (1, count), (count, 1)))
    for number, single, threads, several in zip(counts, one, wide, many, strict=True):
        print(
            f"{number:3} clients: 1 replica of 1 thread {single:.1f}, 1 of {count} threads {threads:.1f}, {count} of 1 "
            f"thread {several:.1f} tokens per second: {several / single:.2f} and {several / threads:.2f} times"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
