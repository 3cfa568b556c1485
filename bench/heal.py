"""What healing is worth: a model without a quarter of its layers, healed, beside the same shape trained alone as long.

    python bench/heal.py TEXT [--minutes 5] [--base-minutes 5]

The base is trained on TEXT (files or folders) first. Both small models are judged on the validation text, in pairs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.convert.open import open_model
from gptsmith.evaluate.bootstrap_units import score_units
from gptsmith.train.validation_text import validation_text

SCORED_TOKENS = 1 << 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--base-minutes", type=float, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = gptsmith.pretrain(chosen.text, minutes=chosen.base_minutes, out=Path(folder, "base"))
        shape = open_model(base["run"]).config
        num_layers = 3 * shape.num_layers // 4
        healed = gptsmith.compress(
            base["run"], layers=num_layers, heal_minutes=chosen.minutes, out=Path(folder, "healed")
        )
        same = [f"model.{name}={getattr(shape, name)}" for name in ("embed_dim", "num_heads", "head_dim")]
        alone = gptsmith.pretrain(
            chosen.text, minutes=chosen.minutes, tokenizer=base["run"], out=Path(folder, "alone"),
            settings=[*same, f"model.num_layers={num_layers}", f"model.context_length={shape.context_length}"],
        )  # fmt: skip
        show(base, healed, alone)


def show(base: dict[str, Any], healed: dict[str, Any], alone: dict[str, Any]) -> None:
    """Prints the bits per byte of the three, and the difference of the two small ones with its interval."""
    stream, _ = validation_text(open_model(base["run"]))
    sizes = open_model(base["run"]).tokenizer().num_bytes_per_token
    found = {}
    for name, figures in (("base", base), ("healed", healed), ("trained alone", alone)):
        model = open_model(figures["run"]).model().float()
        found[name] = score_units(model, stream, sizes, max_tokens=SCORED_TOKENS)
        bits = found[name].whole.bits_per_byte
        print(f"{name:14} {model.num_parameters / 1e6:6.2f}M parameters, {bits:.4f} bits per byte")
    change = found["healed"].metric.compare(found["trained alone"].metric, 0)
    low, high = change["difference_interval"]
    print(
        f"healed - trained alone: {low:+.4f} to {high:+.4f} bits per byte; KL before healing "
        f"{healed['kl_divergence_unhealed']:.3f}, after {healed['kl_divergence']:.3f} "
        f"({healed['healing_steps']:,} and {alone['step']:,} steps)"
    )


if __name__ == "__main__":
    main()
