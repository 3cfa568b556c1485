"""What healing is worth: a model without a quarter of its layers, healed, beside the same shape trained alone as long.

    python bench/heal.py TEXT [--minutes 5] [--base MODEL | --base-minutes 20]

The base is a run, a Hugging Face folder or a GGUF file, or is trained on TEXT (files or folders) first. Both small
models learn from TEXT, and are judged on what is held back of it, in pairs. A shape that no plan can train from
nothing in so few minutes is refused.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.convert.open import open_model
from gptsmith.evaluate.bootstrap_units import score_units
from gptsmith.model.transform import dequantize
from gptsmith.train.validation_text import validation_text

SCORED_TOKENS = 1 << 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--base")
    parser.add_argument("--base-minutes", type=float, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = (
            chosen.base or gptsmith.pretrain(chosen.text, minutes=chosen.base_minutes, out=Path(folder, "base"))["run"]
        )
        healed = gptsmith.compress(
            base, layers=3 * open_model(base).config.num_layers // 4, heal_minutes=chosen.minutes, text=chosen.text,
            out=Path(folder, "healed"),
        )  # fmt: skip
        alone = gptsmith.pretrain(
            chosen.text, minutes=chosen.minutes, tokenizer=healed["run"], out=Path(folder, "alone"),
            settings=list(same_shape(open_model(healed["run"]).config.plain(), "model")),
        )  # fmt: skip
        show(base, healed, alone)


def same_shape(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """The settings of a shape, as assignments."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from same_shape(value, f"{name}.{key}")
        elif value is not None and key != "vocab_size":
            yield f"{name}.{key}={json.dumps(value)}"


def show(base: str, healed: dict[str, Any], alone: dict[str, Any]) -> None:
    """Prints the bits per byte of the three, and the difference of the two small ones with its interval."""
    run = open_model(alone["run"])
    stream, _ = validation_text(run)
    sizes, found = run.tokenizer().num_bytes_per_token, {}
    for name, place in (("base", base), ("healed", healed["run"]), ("trained alone", alone["run"])):
        model = open_model(place).model().float()
        model = dequantize(model) if model.config.linear.is_storage else model
        found[name] = score_units(model, stream, sizes, max_tokens=SCORED_TOKENS)
        bits = found[name].whole.bits_per_byte
        print(f"{name:14} {model.num_parameters / 1e6:6.2f}M parameters, {bits:.4f} bits per byte", flush=True)
    change = found["healed"].metric.compare(found["trained alone"].metric, 0)
    low, high = change["difference_interval"]
    print(
        f"healed - trained alone: {low:+.4f} to {high:+.4f} bits per byte; KL before healing "
        f"{healed['kl_divergence_unhealed']:.3f}, after {healed['kl_divergence']:.3f} "
        f"({healed['healing_steps']:,} and {alone['step']:,} steps)"
    )


if __name__ == "__main__":
    main()
