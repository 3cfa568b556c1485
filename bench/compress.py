"""What rounding costs: the KL divergence of a model in blocks from the model, by bits and by method.

    python bench/compress.py MODEL TEXT [--bits 4.5 5 6 8.5] [--formats q4_0]

MODEL is a run, a Hugging Face folder or a GGUF file. A part of TEXT (files or folders) is held back to judge on; the
rest calibrates. For each format: the nearest integers, and GPTQ in it everywhere. For each number of bits: what
`compress --bits` makes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from gptsmith.compress.difference import difference
from gptsmith.compress.forms import roundable
from gptsmith.compress.gptq import gptq_model
from gptsmith.compress.material import Material
from gptsmith.compress.methods import compressed, method_of
from gptsmith.compress.methods.mixed import MixedMethodSettings
from gptsmith.compress.moments import input_moments
from gptsmith.convert.open import open_model
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import dequantize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--bits", type=float, nargs="*", default=[4.5, 5, 6, 8.5])
    parser.add_argument("--formats", nargs="*", default=["q4_0"])
    chosen = parser.parse_args()
    run = open_model(chosen.model)
    model = run.model().float()
    if model.config.linear.is_storage:
        model = dequantize(model)
    material = Material(run, model, chosen.text)
    print(f"{'':16} {'MB':>8} {'bits':>6} {'KL':>9} {'top-1':>7} {'seconds':>8}")
    for form in chosen.formats:
        say(form, material, partial(compressed, model, [method_of(form)], material))
        say(f"{form}, GPTQ", material, partial(by_gptq, model, form, material))
    for bits in chosen.bits:
        method = MixedMethodSettings(bits=bits)
        say(method.name, material, partial(compressed, model, [method], material))


def by_gptq(model: GPT, form: str, material: Material) -> GPT:
    """All matrices in one format, by GPTQ."""
    moments = input_moments(model, material.calibration_windows())
    return gptq_model(model, dict.fromkeys(roundable(model), form), moments)


def say(name: str, material: Material, make: Callable[[], GPT]) -> None:
    """Prints what a smaller model costs, and the time that making it takes without the validation."""
    started = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - started
    gap = difference(material.original, made, material.validation_windows())
    num_bytes = sum(parameter.nbytes for parameter in made.parameters())
    print(
        f"{name:16} {num_bytes / 1e6:8.2f} {8 * num_bytes / made.num_parameters:6.3f} "
        f"{gap.kl_divergence:9.5f} {gap.top1_agreement:7.4f} {seconds:8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
