"""Planning and starting trainings: what a person wants, looked up and checked, planned by a job and queued as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.base.machine import free_memory_bytes
from gptsmith.base.notices import notice_of
from gptsmith.data.cache import key_of
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.serve.load import stamps_of
from gptsmith.serve.studio.data.parts import ALL, Part, used_part
from gptsmith.serve.studio.data.state import Data
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import RUNS, Place
from gptsmith.serve.studio.train import command, estimate
from gptsmith.serve.studio.train.advice import Situation, advise
from gptsmith.serve.studio.train.data_facts import DataFacts, KnownData
from gptsmith.serve.studio.train.found_models import FoundModel, FoundModels
from gptsmith.serve.studio.train.plans import Known, Plans
from gptsmith.serve.studio.train.schemas import PlanWish, StartWish, Wish
from gptsmith.train.planning.throughput import Speed, known_speed
from gptsmith.train.request import PretrainRequest

AUTO = "auto"
"""The device that trainings take by themselves."""


@dataclass(frozen=True)
class Wanted:
    """What a person wants, looked up and checked."""

    request: command.AnyRequest
    data: DataFacts
    base: FoundModel | None
    parts: Sequence[Part]
    part: str

    @property
    def similar(self) -> str:
        """The same for the same training in another time."""
        untimed = self.request.model_copy(update={"minutes": None}).recorded()
        base = None if self.base is None or self.base.opened is None else stamps_of(self.base.opened.model_files)
        return key_of(self.request.made_by, untimed, self.data.fingerprint, base)

    @property
    def key(self) -> str:
        """The same for the same training."""
        return key_of(self.similar, self.request.minutes)


class Training:
    """The trainings of a studio."""

    def __init__(
        self, place: Place, database: Database, jobs: Jobs, data: Data, plans: Plans, device: str = AUTO
    ) -> None:
        self._place, self._database, self._jobs, self._data, self._plans = place, database, jobs, data, plans
        self._device = device
        self.models = FoundModels(place)
        self._known_data = KnownData(place.folder)

    def plan(self, wish: PlanWish) -> dict[str, Any]:
        """What is known of a training now: a guess at once, and the figures of the verb `plan` when its job has made
        them; or why it cannot be."""
        try:
            wanted = self._wanted(wish)
            self._plans.drop(wish.instead_of, unless=wanted.key)
        except UserError as error:
            self._plans.drop(wish.instead_of)
            said = {"problem": str(error), "notice": notice_of(error)}
            return {"state": "failed", "figures": {}, "job": None, **said, "advice": []}
        known = self._known(wanted, wish.data, is_exact=wish.is_exact)
        return {
            "state": known.state,
            "figures": dict(known.figures),
            "job": known.job,
            "problem": known.problem,
            "notice": known.notice,
            "advice": [one.row() for one in self._advice(wanted, wish.minutes, known)],
            "free_bytes": free_memory_bytes(),
            "data": {"num_bytes": wanted.data.amount.num_bytes, "num_documents": wanted.data.amount.num_documents,
                     "shape": wanted.data.shape, "parts": [part.row() for part in wanted.parts], "part": wanted.part},
            "command": shell_command(*_flat(command.training_words(wanted.request))),
        }  # fmt: skip

    def start(self, wish: StartWish) -> dict[str, Any]:
        """Queues a training; its job and the name of its run.

        Raises:
            UserError: something of it cannot be used.
        """
        request = self._wanted(wish).request
        with self._database.transaction():  # two pages that start at once get two names
            taken = {path.name for path in self._place.runs.iterdir()} | self._queued_runs()
            name = command.run_name(wish.name, wish.data, taken)
            verb, words = command.training_words(request.model_copy(update={"out": f"{RUNS}/{name}"}))
            job = self._jobs.add(verb, words, title=name, run=name)
        return {"job": job, "run": name}

    def _wanted(self, wish: Wish) -> Wanted:
        base = None if wish.base is None else self.models.get(wish.base)
        parts = self._data.parts(wish.data) if self._is_collection(wish.data) else ()
        part = used_part(parts, wish.part, tunes=base is not None)
        if part == ALL and base is not None and len(parts) > 1:
            wish = wish.model_copy(update={"options": {"objective": "next_token", **wish.options}})
        data = self._known_data.of(self._data_words(wish.data, part))
        request = command.request_of(wish, data.words, None if base is None else base.id)
        if self._device != AUTO:
            request = request.model_copy(update={"device": self._device})
        command.check_settings(request, None if base is None or base.opened is None else base.opened.config)
        return Wanted(request, data, base, parts, part)

    def _is_collection(self, name: str) -> bool:
        return name in {collection.name for collection in self._data.collections}

    def _data_words(self, name: str, part: str) -> list[str]:
        """The words that give a part of a collection, or a path in the studio's folder.

        Raises:
            UserError: there is neither.
        """
        if self._is_collection(name):
            return self._data.arguments(name, part)
        path = self._place.inside(name)
        if not path.exists():
            raise UserError(f"{name}: there is no such collection, and no such file or folder in {self._place.folder}")
        folder = self._place.folder
        return ["--", str(path.relative_to(folder) if path.is_relative_to(folder) else path)]

    def _known(self, wanted: Wanted, title: str, *, is_exact: bool) -> Known:
        words, guess = command.plan_words(wanted.request), self._guess(wanted)
        return self._plans.known(wanted.key, wanted.similar, words, guess, title=title, is_exact=is_exact)

    def _guess(self, wanted: Wanted) -> dict[str, Any]:
        """The figures that are known at once; nothing of a training without a known speed."""
        earlier = self._plans.earlier(wanted.similar)
        request, amount = wanted.request, wanted.data.amount
        if request.private is not None:
            return {}
        if isinstance(request, PretrainRequest):
            return estimate.new_model(request, amount, self._speed(), earlier) or {}
        assert wanted.base is not None, "a fine-tuning has a base"
        base = wanted.base
        return estimate.tuning(request, amount, base.num_parameters, base.tuning_bytes, self._speed(), earlier)

    def _advice(self, wanted: Wanted, minutes: float, known: Known) -> list[Any]:
        return advise(
            Situation(
                wanted.data.amount,
                wanted.data.are_examples,
                minutes,
                wanted.base,
                self.models.seen,
                known.figures,
                known.state == "planned",
                free_memory_bytes(),
                self._speed(),
            )
        )

    def _speed(self) -> Speed | None:
        device = choose_device(self._device)
        return known_speed(device, choose_dtype("auto", device))

    def _queued_runs(self) -> set[str]:
        return {job["run"] for job in self._jobs.list() if job["ended"] is None and job["run"]}


def _flat(verb_and_words: tuple[str, list[str]]) -> list[str]:
    verb, words = verb_and_words
    return [verb, *(word for word in words if word != "--json")]
