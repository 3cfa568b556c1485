"""Fits the scaling law of `gptsmith.train.planning.scaling_law` to recorded runs, and says how well it predicts runs
that it has not seen.

    python bench/law.py add RUN...      records runs of the default model, in bench/law_runs.jsonl
    python bench/law.py add --unseen RUN...
    python bench/law.py fit             fits to the recorded runs, then judges the unseen ones

A run counts if it used the default model and its schedule came to its end.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from gptsmith.data.prepare import prepare
from gptsmith.run.folder import DATA, Run
from gptsmith.train.planning import scaling_law as law
from gptsmith.train.planning.plan import block_parameters
from gptsmith.train.planning.time_budget import sample_of
from gptsmith.train.run_settings import RunSettings

RECORDS = Path(__file__).with_name("law_runs.jsonl")
NAMES = ("FLOOR", "SIZE", "SIZE_EXPONENT", "DATA", "DATA_EXPONENT", "REPEAT_HALF_LIFE", "COPYING")


def record(run: Run, unseen: bool) -> dict:
    """What the law needs to know of a finished run."""
    settings = RunSettings.parse(run.settings())
    result = run.result()
    assert result is not None, f"{run.folder} has not ended"
    data = prepare(
        settings.request.sources, settings=settings.data, tokenizer=settings.tokenizer, seed=settings.train.seed
    )
    texts = sample_of(data)
    figures = json.loads((run.folder / DATA).read_text())["train"]
    return {
        "text": Path(settings.request.sources[0]).stem,
        "tokenizer": settings.tokenizer.kind,
        "embed_dim": settings.model.embed_dim,
        "num_layers": settings.model.num_layers,
        "num_tokens": result["num_tokens"],
        "bits_by_counts": round(law.bits_by_counts(*texts), 4),
        "recurrence": round(law.recurrence(*texts), 4),
        "block_parameters": block_parameters((settings.model.embed_dim, settings.model.num_layers)),
        "bytes_seen": round(result["num_tokens"] * figures["num_bytes"] / figures["num_tokens"]),
        "bytes_unique": figures["num_bytes"],
        "bits_per_byte": round(result["bits_per_byte"], 4),
        "unseen": unseen,
    }


def expected(constants: torch.Tensor, rows: list[dict]) -> torch.Tensor:
    """The law, with constants given as logarithms, so that they stay positive."""
    floor, size, size_exponent, data, data_exponent, half_life, copying = constants.exp()
    values = []
    for row in rows:
        repeats = max(row["bytes_seen"] / row["bytes_unique"] - 1, 0.0)
        worth = min(row["bytes_seen"], row["bytes_unique"]) * (1 + half_life * (1 - torch.exp(-repeats / half_life)))
        share = floor + size * (1e6 / row["block_parameters"]) ** size_exponent + data * (1e7 / worth) ** data_exponent
        values.append(row["bits_by_counts"] * torch.exp(-copying * row["recurrence"] ** 2) * share)
    return torch.stack(values)


def fit(rows: list[dict]) -> torch.Tensor:
    """Constants with the least squared error of the logarithm, pulled a little towards those of now."""
    start = torch.tensor([math.log(getattr(law, name)) for name in NAMES], dtype=torch.float64)
    constants = start.clone().requires_grad_()
    measured = torch.tensor([row["bits_per_byte"] for row in rows], dtype=torch.float64).log()
    optimizer = torch.optim.LBFGS([constants], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = ((expected(constants, rows).log() - measured) ** 2).mean() + 1e-5 * ((constants - start) ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return constants.detach()


def show(title: str, constants: torch.Tensor, rows: list[dict]) -> None:
    print(title)
    inside = 0
    for row, value in zip(rows, expected(constants, rows).tolist(), strict=True):
        off = row["bits_per_byte"] / value - 1
        inside += abs(off) <= law.INTERVAL
        print(
            f"  {row['text']:16} {row['tokenizer']:10} {row['embed_dim']:4} x {row['num_layers']}  "
            f"{row['num_tokens'] / 1e6:5.2f}M tokens  expected {value:.3f}  came {row['bits_per_byte']:.3f}  {off:+.1%}"
        )
    print(f"  {inside} of {len(rows)} within {law.INTERVAL:.0%}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["add", "fit"])
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--unseen", action="store_true")
    arguments = parser.parse_intermixed_args()
    if arguments.what == "add":
        with RECORDS.open("a", encoding="utf-8") as file:
            for run in arguments.runs:
                file.write(json.dumps(record(Run.open(run), arguments.unseen)) + "\n")
        return
    rows = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    seen, unseen = [row for row in rows if not row["unseen"]], [row for row in rows if row["unseen"]]
    constants = fit(seen)
    print(", ".join(f"{name} = {value:.4g}" for name, value in zip(NAMES, constants.exp().tolist(), strict=True)))
    show("fitted to", constants, seen)
    if unseen:
        show("not seen", constants, unseen)


if __name__ == "__main__":
    main()
