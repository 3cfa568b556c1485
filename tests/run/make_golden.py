"""Makes the golden run of the present format: `python tests/run/make_golden.py`. Once a format version, never again.

What it writes is committed, so that every later version of the code proves that it still reads it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch

import gptsmith
from gptsmith.run.upgrade import NEWEST_FORMAT_VERSION
from tests.workflows.together import work

GOLDEN = Path(__file__).with_name("golden") / f"version-{NEWEST_FORMAT_VERSION}"
TEXT = "The old smith forges a nail of iron. The young smith sells a sword of steel.\n"
SETTINGS = [
    "model.embed_dim=16", "model.num_layers=1", "model.num_heads=2", "model.head_dim=8", "model.context_length=16",
    "model.attention.num_kv_heads=1", "train.batch_size=4", "train.num_steps=6", "train.dtype=float32",
    "train.evaluate_every_steps=3", "checkpoint.every_steps=3",
]  # fmt: skip


def main() -> None:
    assert not GOLDEN.exists(), f"{GOLDEN} is there: it is never made again"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTSMITH_CACHE"] = "cache"
        Path("smiths.txt").write_text(TEXT * 40, encoding="utf-8")
        settings = [*SETTINGS, "tokenizer.kind=bytes", "parallel.shard=true"]
        work(Path.cwd(), 2, {"golden": {"sources": ["smiths.txt"], "out": "golden", "settings": settings}})
        for name in (".lock", "report.html", "run.schema.json", "data.json", "paths.json"):
            Path("golden", name).unlink(missing_ok=True)
        shutil.copytree("golden", GOLDEN)
    loaded = gptsmith.load(GOLDEN)
    ids = loaded.tokenizer.encode("The old smith")
    logits = loaded.model(torch.tensor([ids]))[0, -1, :8]
    expected = {"prompt": "The old smith", "ids": ids, "first_logits": logits.tolist()}
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
