"""What an improvement will take, before it is begun: the plan of its training."""

from __future__ import annotations

from typing import Any

from gptsmith.base.command_words import fields_of
from gptsmith.base.leftovers import remove
from gptsmith.data.cache import key_of
from gptsmith.model.cost import cost
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.serve.load import ModelDescription
from gptsmith.serve.studio.improve.beginning import (
    EXAMPLES,
    PLAN_PREFIX,
    Prepared,
    examples_path,
    prepared,
    training_words,
)
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.marks.marks import Marks
from gptsmith.serve.studio.place import Place
from gptsmith.serve.studio.train.command import plan_words
from gptsmith.serve.studio.train.estimate import Amount, tuning
from gptsmith.serve.studio.train.plans import Plans
from gptsmith.train.planning.throughput import known_speed
from gptsmith.train.request import FinetuneRequest

LISTENER = "improve-plan"


class ImprovementPlans:
    """The plans of improvements, by the verb `plan` on the examples that would be learnt from. They are written for
    that alone, and deleted when the plan is made."""

    def __init__(self, place: Place, marks: Marks, jobs: Jobs, plans: Plans, device: str) -> None:
        self._place, self._marks, self._jobs, self._plans, self._device = place, marks, jobs, plans, device
        jobs.listen(LISTENER, lambda _: self._remove_read())

    def of(self, about: ModelDescription, *, is_exact: bool) -> dict[str, Any]:
        """What is known now: its `state` (`guessed`, `planning`, `planned` or `failed`), the `seconds` that it takes,
        and why there is no plan; how many examples are learnt from, and prompts held back.

        Args:
            is_exact: begins a plan if there is none.

        Raises:
            ApiError: there are too few marks.
            UserError: the disk is full.
        """
        found = prepared(self._marks, about)
        key = key_of("improve", found.text, found.recipe.plain(), about.stamps, self._device)
        path = examples_path(self._place, f"{PLAN_PREFIX}{key}")
        request = self._request(training_words(about, path, found.recipe, self._device))
        guess = self._guess(request, found, about)

        def begun(job: str) -> None:
            found.write(path)
            self._jobs.when_done(job, LISTENER)

        words = plan_words(request)
        known = self._plans.known(key, key, words, guess, title=about.name, is_exact=is_exact, begun=begun)
        return {
            "state": known.state,
            "seconds": known.figures.get("seconds"),
            "problem": known.problem,
            "notice": known.notice,
            "num_examples": len(found.records),
            "num_held_back": len(found.held),
        }

    def _request(self, words: list[str]) -> FinetuneRequest:
        fields = fields_of([word for word in words if word != "--json"], FinetuneRequest, "sources")
        base, *sources = fields.pop("sources")
        fields.pop("learning_rate", None)  # which takes no time, and is no option of `plan`
        return FinetuneRequest.parse({**fields, "base": base, "sources": sources})

    def _guess(self, request: FinetuneRequest, found: Prepared, about: ModelDescription) -> dict[str, Any]:
        device = choose_device(self._device)
        speed = known_speed(device, choose_dtype("auto", device))
        way = "lora" if found.recipe.lora else "all_weights"
        size = Amount(len(found.text.encode()))
        return tuning(request, size, cost(about.config).num_parameters, {way: 0}, speed, None)

    def _remove_read(self) -> None:
        """Deletes the examples of plans that are made."""
        for folder in examples_path(self._place, PLAN_PREFIX).parent.parent.glob(f"{PLAN_PREFIX}*"):
            if self._jobs.using("", str(folder / EXAMPLES)) is None:
                remove(folder)
