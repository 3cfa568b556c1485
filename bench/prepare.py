"""Time of preparing a text by one worker and by several, and in one process without datatrove, in turns.

    python bench/prepare.py [--megabytes 60] [--tokenizer FOLDER] [--workers 2] [--rounds 3] [--file-megabytes 1]

By default the text (--text FOLDER) is source code and documentation of installed packages, in files of a megabyte; with
--file-megabytes 0 each is a file of its own, some 10 kB, and what is noted of each file counts. Each contender begins
with an empty cache. A worker has one thread; what one process does without datatrove encodes in a thread for each
processor. A tokenizer is trained in one process, by all processors, whatever the number of workers; with --tokenizer
none is trained. The ratio of each round is what counts. All write the same tokens, which is checked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ENDINGS = {".py", ".md", ".rst", ".txt", ".html", ".h", ".js"}
ALONE = """
import sys
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
tokenizer = load_tokenizer(sys.argv[2]) if sys.argv[2:] else BPETokenizerSettings()
prepare([sys.argv[1]], settings=DataSettings(), tokenizer=tokenizer, seed=1)
"""


def gather(folder: Path, num_bytes: int, file_bytes: int) -> int:
    """Writes texts of installed packages into a folder, about so many bytes, in files of so many; gives how many."""
    copied = in_file = 0
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*")):
        if path.suffix in ENDINGS and path.is_file() and 500 < path.stat().st_size < 1_000_000:
            if in_file >= file_bytes or not copied:
                target, in_file = folder / f"{copied}-{path.name}", 0
            with target.open("ab") as file:
                in_file += file.write(path.read_bytes())
            copied += path.stat().st_size
            if copied >= num_bytes:
                break
    return copied


def seconds_of(command: list[str], cache: Path) -> float:
    shutil.rmtree(cache, ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, "GPTSMITH_CACHE": str(cache)}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def shards(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("train-*.tokens"))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer")
    parser.add_argument("--file-megabytes", type=float, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch), Path(scratch) / "cache"
        text = options.text or folder / "texts"
        if options.text is None:
            text.mkdir()
            num_bytes = gather(text, int(options.megabytes * 1e6), int(options.file_megabytes * 1e6))
            print(f"{num_bytes / 1e6:.0f} MB in {len(list(text.iterdir())):,} files")
        contenders = {
            f"{count} worker{'s' if count > 1 else ''}": [
                *(sys.executable, "-m", "gptsmith", "prepare", str(text)),
                *("--workers", str(count), "--out", str(folder / f"by{count}")),
                *(("--tokenizer", options.tokenizer) if options.tokenizer else ()),
            ]
            for count in (options.workers, 1)
        }
        contenders["without datatrove"] = [sys.executable, "-c", ALONE, str(text), *filter(None, [options.tokenizer])]
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, command in contenders.items():
                for count in (options.workers, 1):
                    shutil.rmtree(folder / f"by{count}", ignore_errors=True) if str(count) in name else None
                seconds[name].append(seconds_of(command, cache))
        assert shards(folder / "by1") == shards(folder / f"by{options.workers}") == shards(cache)
        first = next(iter(seconds.values()))
        for name, times in seconds.items():
            ratio = statistics.median(other / own for other, own in zip(times, first, strict=True))
            print(
                f"{name:20} {statistics.median(times):6.1f} s; {options.workers} workers are {ratio:.2f} times as fast"
            )


if __name__ == "__main__":
    main()
