"""EleutherAI's lm-eval over a model of ours: its tasks, its prompts and its figures, our model's answers.

It is imported only where lm-eval is there (the extra `eval`).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetsError
from lm_eval import __version__, evaluator, simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from gptsmith.base.console import Meter, meter
from gptsmith.base.errors import UserError
from gptsmith.evaluate.language_model import Candidate
from gptsmith.evaluate.loglikelihood import Pair, Scored, score_continuations
from gptsmith.evaluate.quiet import quiet
from gptsmith.generate.sampling import SamplingSettings

MAX_REPLY_TOKENS = 256
"""Of a reply to a task that names no number itself, as in lm-eval's own models."""
NUM_RESAMPLES = 1000
"""How often lm-eval draws anew for the standard errors that have no formula."""
ONE_PROCESS = "DISABLE_MULTIPROC"
"""Where this stands in the environment, lm-eval starts no processes for that."""


class HarnessModel(TemplateLM):
    """A candidate as lm-eval's sort of model."""

    def __init__(self, candidate: Candidate, seed: int) -> None:
        super().__init__()
        self.candidate, self.seed = candidate, seed
        self._rendered: dict[str, list[int]] = {}
        self._stderr = sys.stderr

    @property
    def eot_token_id(self) -> int:
        return self.candidate.tokenizer.eos_token_id

    @property
    def max_length(self) -> int:
        return self.candidate.model.config.context_length

    @property
    def tokenizer_name(self) -> str:
        return self.candidate.tokenizer.fingerprint

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text. Its ids are remembered, so that what people wrote in it stays text.

        Args:
            add_generation_prompt: whether the assistant's turn is to begin; else the last turn is the assistant's, and
                goes on.
        """
        template, tokenizer = self.candidate.template, self.candidate.tokenizer
        assert template is not None, "only asked of a model with a template"
        begun = "" if add_generation_prompt else chat_history[-1]["content"]
        turns = chat_history if add_generation_prompt else chat_history[:-1]
        text = template.render(turns, tokenizer=tokenizer, open_turn=True) + begun
        self._rendered[text] = template.prompt_ids(tokenizer, turns) + (tokenizer.encode(begun) if begun else [])
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self._rendered.get(string) or self.candidate.tokenizer.encode(string)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context in self._rendered:
            return self._rendered[context], self.candidate.tokenizer.encode(continuation)
        return super()._encode_pair(context, continuation)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        # A context of blanks alone is empty by now: lm-eval counts them to the continuation.
        pairs = [(context or [self.prefix_token_id], continuation) for _, context, continuation in requests]
        return [(score.log_likelihood, score.is_greedy) for score in self._scored(pairs)]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        windows: list[tuple[list[int], list[int]]] = []
        bounds = [0]
        for request in requests:
            ids = self.tok_encode(request.args[0])
            rolling = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)
            windows += map(make_disjoint_window, rolling)
            bounds.append(len(windows))
        scored = [score.log_likelihood for score in self._scored(windows)]
        return [sum(scored[start:stop]) for start, stop in pairwise(bounds)]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        found: dict[int, str] = {}
        alike: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault(repr(request.args[1]), []).append(number)
        with self._meter("writing", len(requests)) as bar:
            for numbers in alike.values():
                prompts = [self.tok_encode(requests[number].args[0]) or [self.prefix_token_id] for number in numbers]
                wishes = dict(requests[numbers[0]].args[1])
                until = wishes.pop("until", None) or []
                texts = self.candidate.write(
                    prompts,
                    max_tokens=wishes.pop("max_gen_toks", MAX_REPLY_TOKENS),
                    stops=[stop for stop in ([until] if isinstance(until, str) else until) if stop],
                    sampling=_sampling(wishes),
                    seed=self.seed,
                    observe=partial(_go_on, bar, len(found)),
                )
                found.update(zip(numbers, texts, strict=True))
        return [found[number] for number in range(len(requests))]

    def _scored(self, pairs: Sequence[Pair]) -> list[Scored]:
        with self._meter("scoring", len(pairs)) as bar:
            return score_continuations(self.candidate.model, pairs, observe=bar.update)

    @contextmanager
    def _meter(self, title: str, total: int) -> Iterator[Meter]:
        """A meter that is seen though lm-eval is silenced."""
        with redirect_stderr(self._stderr), meter(title, total) as bar:
            yield bar


def _go_on(bar: Meter, before: int, done: int) -> None:
    bar.update(before + done)


def _sampling(wishes: Mapping[str, Any]) -> SamplingSettings:
    """How a task wants tokens drawn: the likeliest always, unless it names a temperature or says `do_sample`.

    Raises:
        UserError: it asks for what there is not.
    """
    settings = dict(wishes)
    is_drawn = settings.pop("do_sample", settings.get("temperature", 0) > 0)
    settings["temperature"] = settings.get("temperature", 1.0) if is_drawn else 0.0
    return SamplingSettings.parse(settings, "generation_kwargs")


def run_harness(
    candidate: Candidate, task: str, *, folder: str | Path | None, num_shots: int | None, limit: int | None, seed: int
) -> dict[str, Any]:
    """lm-eval's figures of a task or a group of them.

    Args:
        folder: one with tasks (YAML) besides those that lm-eval brings.
        num_shots: examples before each question; as many as the task says where it is not given.
        limit: how many examples are asked; all where it is not given.

    Returns:
        harness, harness_version, results (of each task: its figures by lm-eval's names, and num_examples).

    Raises:
        UserError: there is no such task or folder, or its data cannot be had.
    """
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"--harness-path {folder}: there is no such folder")
    model = HarnessModel(candidate, seed)
    with quiet(), _alone():
        tasks = _task_manager(task, folder)
        try:
            found = simple_evaluate(
                model=model,
                tasks=[task],
                num_fewshot=num_shots,
                limit=limit,
                bootstrap_iters=NUM_RESAMPLES,
                log_samples=False,
                apply_chat_template=candidate.template is not None,
                task_manager=tasks,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
        except (OSError, DatasetsError) as error:
            raise UserError(
                f"lm-eval cannot get the data of {task} ({_first_line(error)}): most of its tasks fetch theirs from "
                "huggingface.co; --harness-path takes a task over local files"
            ) from error
    results = {
        name: {
            **{key: _plain(value) for key, value in figures.items() if "," in key},
            "num_examples": found["n-samples"].get(name, {}).get("effective"),
        }
        for name, figures in found["results"].items()
    }
    return {"harness": task, "harness_version": __version__, "results": results}


def _task_manager(task: str, folder: str | Path | None) -> TaskManager:
    """What finds a task: the folder's own is found without reading the thousands that lm-eval brings.

    Raises:
        UserError: there is no such task.
    """
    path = None if folder is None else str(folder)
    if path is not None and task in (own := TaskManager(include_path=path, include_defaults=False)).all_subtasks:
        return own
    tasks = TaskManager(include_path=path)
    if task not in tasks.all_tasks:
        nearest = get_close_matches(task, tasks.all_tasks, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else "its own are listed by: lm-eval ls tasks"
        raise UserError(f"lm-eval has no task {task} ({advice}); --harness-path names a folder with more")
    return tasks


@contextmanager
def _alone() -> Iterator[None]:
    """While the block runs, lm-eval starts no other program: it draws anew in this process, and asks neither git nor
    the machine for their state, which nobody here reads."""
    with ExitStack() as after:
        for name in ("get_git_commit_hash", "add_env_info"):
            after.callback(setattr, evaluator, name, getattr(evaluator, name))
            setattr(evaluator, name, lambda *_: None)
        if ONE_PROCESS not in os.environ:
            after.callback(os.environ.pop, ONE_PROCESS)
            os.environ[ONE_PROCESS] = "1"
        yield


def _plain(value: Any) -> float | None:
    """A figure as JSON has it; nothing where lm-eval has none."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def _first_line(error: BaseException) -> str:
    """What went wrong at first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)
