"""Tokens per second of one replica and of several, each of one thread, and of one server with as many threads as there
are replicas.

    python bench/replicas.py RUN [REPLICAS] [CLIENTS ...]        2 replicas, 1 and 8 clients per replica by default
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time

from serve_load import NUM_TOKENS, client
from served import asked, server

REQUESTS = 8
"""At least so many, from all clients together."""


def tokens_per_second(port: int, model: str, vocab_size: int, num_clients: int, seed: int) -> float:
    """What so many clients get together."""
    rounds = max(1, REQUESTS // num_clients)
    threads = [
        threading.Thread(
            target=client, args=(port, model, vocab_size, random.Random(1000 * seed + number), rounds, list[float]())
        )
        for number in range(num_clients)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return num_clients * rounds * NUM_TOKENS / (time.perf_counter() - begun)


def measured(run: str, num_replicas: int, num_threads: int, clients: list[int]) -> list[float]:
    """The tokens per second for each number of clients."""
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    with server(run, "--replicas", str(num_replicas)) as (port, _):
        card = json.loads(asked(port, "GET", "/v1/models")[1])["data"][0]
        place = (port, card["id"], card["gptsmith"]["vocab_size"])
        tokens_per_second(*place, 2 * num_replicas, 0)  # warm
        return [tokens_per_second(*place, count, 1) for count in clients]


def main(run: str, replicas: str = "2", *clients: str) -> None:
    count = int(replicas)
    counts = [int(given) for given in clients] or [count, 8 * count]
    one = measured(run, 1, 1, counts)
    several = measured(run, count, 1, counts)
    wide = measured(run, 1, count, counts)
    for number, *figures in zip(counts, one, several, wide, strict=True):
        print(
            f"{number:3} clients: 1 replica of 1 thread {figures[0]:.1f}, {count} of 1 thread {figures[1]:.1f}, 1 of "
            f"{count} threads {figures[2]:.1f} tokens per second: {figures[1] / figures[0]:.2f} and "
            f"{figures[1] / figures[2]:.2f} times",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
