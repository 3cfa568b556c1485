"""Training a run anew with a document and without it: the ground truth of what it made a model write."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from gptsmith.base.console import hushed, meter
from gptsmith.base.errors import UserError
from gptsmith.convert.load import load
from gptsmith.convert.open import OpenedModel
from gptsmith.evaluate.statistics import Interval, paired_t_interval
from gptsmith.explain.claim import CHANCE, HOLDS
from gptsmith.explain.influence.forgetting import Target
from gptsmith.explain.influence.without_document import Document
from gptsmith.run.folder import SETTINGS
from gptsmith.workflows.finetune import finetune
from gptsmith.workflows.pretrain import pretrain
from gptsmith.workflows.requests import TraceRequest


def retrained(run: OpenedModel, request: TraceRequest, text: str) -> dict[str, Any]:
    """How much more probable a text is to models that were trained with a document than to those without it: pairs that
    differ in it alone, with the settings and the tokenizer of a run, one pair for each seed.

    Raises:
        UserError: the run was trained elsewhere, or from a run that is gone; the document is not among its sources.
    """
    document = Document.parse(str(request.retrain))
    found: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="gptsmith-") as temporary:
        folder = Path(temporary)
        sources = dict(zip(found, document.without(_sources_of(run), folder), strict=True))
        with meter("training", 2 * request.seeds) as bar:
            for seed in range(1, request.seeds + 1):
                for name, files in sources.items():
                    out = folder / f"{name}-{seed}"
                    with hushed():
                        _train(run, files, seed, out)
                        loaded = load(out, device=request.device)
                    target = Target.of(loaded.tokenizer, loaded.template, request.prompt, text)
                    found[name].append(target.log_probability(loaded.model))
                    bar.update(len(found["with"]) + len(found["without"]), f"seed {seed}, {name} it")
    interval = paired_t_interval(found["with"], found["without"])
    difference = (interval.low + interval.high) / 2
    return {
        "document": str(request.retrain),
        "seeds": request.seeds,
        **found,
        "difference": difference,
        "difference_interval": [*interval],
        "verdict": HOLDS if interval.low > 0 or interval.high < 0 else CHANCE,
        "says": _in_words(difference, interval, request.seeds),
    }


def _sources_of(run: OpenedModel) -> list[str]:
    """The files that the last training of a run read.

    Raises:
        UserError: it was trained elsewhere, or they are gone.
    """
    training = run.lineage()[0]
    if not training.is_trained:
        raise UserError(f"{run.folder} was not trained itself, but made of another model: name that")
    if "num_examples" in run.data().get("train", {}):
        return run.paths.all_located(training.sources)
    return run.paths.all_located(run.data()["files"])


def _train(run: OpenedModel, sources: list[str], seed: int, out: Path) -> None:
    """Trains a run as another one was, from other sources and by another seed."""
    training = run.lineage()[0]
    request = training.request
    common: dict[str, Any] = {
        "validation": run.paths.all_located(request.get("validation", [])),
        "without": run.paths.all_located(request.get("without", [])),
        "redact_passages": run.paths.all_located(request.get("redact_passages", [])),
        "config": run.folder / SETTINGS,
        "seed": seed,
        "out": out,
        "settings": ["data.num_canaries=0"],  # each pair would have its own
    }
    if training.base is None:
        pretrain(sources, tokenizer=run.folder, **common)
    else:
        finetune(run.paths.located(training.base), sources, objective=request.get("objective"), **common)


def _in_words(difference: float, interval: Interval, seeds: int) -> str:
    """What retraining showed; of cause only where it did."""
    measured = f"{difference:+.2f} nats ({interval.low:+.2f} to {interval.high:+.2f} as 95 % interval, {seeds} seeds)"
    if interval.low > 0:
        return f"The document made the text more probable: models that learnt from it differ by {measured}."
    if interval.high < 0:
        return f"The document made the text less probable: models that learnt from it differ by {measured}."
    return f"No better than chance: models that learnt from the document differ by {measured}."
