"""What Ray costs: the time of a step beside torchrun's, and the time from a killed worker to the next step.

    python bench/ray_workers.py [PAIRS] [WORKERS]

So many processes, of one thread each, train the same small model, in pairs: by torchrun, and on a cluster of Ray that
has as many CPUs. A step takes some 100 ms. Ray's own processes take time of a core too: with fewer WORKERS than cores,
see what they cost where one is free.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptsmith.run.checkpoint import list_checkpoints

NUM_STEPS, FIRST_STEP = 120, 20
SETTINGS = {
    "tokenizer.kind": "bytes",
    "model.num_layers": "4",
    "model.embed_dim": "128",
    "model.context_length": "128",
    "train.batch_size": "16",
    "train.num_steps": str(NUM_STEPS),
    "train.dtype": "float32",
    "train.evaluate_every_steps": "100000",
    "train.sample_every_steps": "100000",
}


def write_text(path: Path) -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghij", k=chance.randint(2, 7))) for _ in range(500)]
    path.write_text("\n\n".join(" ".join(chance.choices(words, k=80)) for _ in range(2000)), encoding="utf-8")


def command(text: Path, out: Path, *settings: str) -> list[str]:
    given = [*(f"{key}={value}" for key, value in SETTINGS.items()), *settings]
    return ["gptsmith", "pretrain", str(text), "--out", str(out), *(part for one in given for part in ("--set", one))]


def step_ms(run: Path) -> float:
    """Milliseconds of a step, from the first ones to the last."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds = {row["step"]: row["seconds"] for row in rows if row["event"] == "step"}
    return 1000 * (seconds[NUM_STEPS] - seconds[FIRST_STEP]) / (NUM_STEPS - FIRST_STEP)


def overhead(folder: Path, text: Path, num_pairs: int, num_workers: int) -> None:
    """Prints the time of a step by torchrun and by Ray, in pairs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_workers}", "-m"]
    ray = [str(Path(sys.executable).with_name("ray"))]
    head = ["start", "--head", f"--num-cpus={num_workers}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    subprocess.run([*ray, *head], env=environment, check=True, capture_output=True)
    ratios = []
    for pair in range(num_pairs):
        runs = [folder / f"torchrun-{pair}", folder / f"ray-{pair}"]
        commands = [
            [*torchrun, *command(text, runs[0])],
            [sys.executable, "-m", *command(text, runs[1]), "--ray", "auto", "--workers", str(num_workers)],
        ]
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for which in order:
            subprocess.run(commands[which], env=environment, check=True, capture_output=True)
        one, other = map(step_ms, runs)
        ratios.append(other / one)
        print(f"torchrun {one:.1f} ms per step, Ray {other:.1f} ms: {other / one - 1:+.1%}", flush=True)
    print(f"median of the pairs: {statistics.median(ratios) - 1:+.1%}", flush=True)
    subprocess.run([*ray, "stop"], check=True, capture_output=True)


def writer_of(run: Path) -> int:
    """The process that has a file of the run open: the first worker."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()).startswith(f"{run}/") for fd in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:
            continue
    raise RuntimeError(f"no process has {run} open")


def recovery(folder: Path, text: Path) -> None:
    """Prints the time from a killed worker to the first checkpoint after it, of which one is made every step."""
    run = folder / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", *command(text, run, "checkpoint.every_steps=1"), "--ray", "local", "--workers", "2"],
        stderr=subprocess.DEVNULL,
    )

    def newest() -> int:
        return max((checkpoint.step for checkpoint in list_checkpoints(run / "checkpoints")), default=0)

    while newest() < 10:
        time.sleep(0.05)
    os.kill(writer_of(run), signal.SIGKILL)
    killed, step = time.monotonic(), newest()
    while newest() <= step:
        time.sleep(0.05)
    print(f"killed after step {step}; step {newest()} was saved {time.monotonic() - killed:.1f} s later", flush=True)
    process.send_signal(signal.SIGINT)
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="?", type=int, default=3)
    parser.add_argument("workers", nargs="?", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        write_text(text)
        recovery(folder, text)
        overhead(folder, text, options.pairs, options.workers)


if __name__ == "__main__":
    main()
