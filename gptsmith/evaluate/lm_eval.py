"""EleutherAI's lm-eval on a model of ours: its tasks, its prompts and its metrics.

Imported only if lm-eval is installed (the extra `eval`).
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
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.evaluate.lm_eval_samples import TaskSamples, task_samples
from gptsmith.evaluate.loglikelihood import ContinuationScore, Pair, score_continuations
from gptsmith.evaluate.quiet import quiet
from gptsmith.generate.sampling import SamplingSettings

MAX_REPLY_TOKENS = 256
"""The limit of a reply if the task sets none, as in lm-eval's own models."""
NUM_RESAMPLES = 1000
"""The number of lm-eval's bootstrap resamples, for standard errors without a formula."""
ONE_PROCESS = "DISABLE_MULTIPROC"
"""The environment variable that keeps lm-eval's bootstrap in this process."""


class LmEvalModel(TemplateLM):
    """A model of ours behind lm-eval's interface."""

    def __init__(self, model: LanguageModel, seed: int) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self._rendered: dict[str, list[int]] = {}
        self._stderr = sys.stderr

    @property
    def eot_token_id(self) -> int:
        return self.model.tokenizer.eos_token_id

    @property
    def max_length(self) -> int:
        return self.model.model.config.context_length

    @property
    def tokenizer_name(self) -> str:
        return self.model.tokenizer.fingerprint

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text. Its ids are kept, so that special tokens that people wrote stay text.

        Args:
            add_generation_prompt: whether the assistant's turn is to begin; else the last turn is the assistant's, and
                is continued.
        """
        template, tokenizer = self.model.template, self.model.tokenizer
        assert template is not None, "only called for a model with a template"
        begun = "" if add_generation_prompt else chat_history[-1]["content"]
        turns = chat_history if add_generation_prompt else chat_history[:-1]
        text = template.render(turns, tokenizer=tokenizer, open_turn=True) + begun
        self._rendered[text] = template.prompt_ids(tokenizer, turns) + (tokenizer.encode(begun) if begun else [])
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self._rendered.get(string) or self.model.tokenizer.encode(string)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context in self._rendered:
            return self._rendered[context], self.model.tokenizer.encode(continuation)
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
        with self._meter("generating", len(requests)) as bar:
            for numbers in alike.values():
                prompts = [self.tok_encode(requests[number].args[0]) or [self.prefix_token_id] for number in numbers]
                options = dict(requests[numbers[0]].args[1])
                until = options.pop("until", None) or []
                texts = self.model.generate(
                    prompts,
                    max_tokens=options.pop("max_gen_toks", MAX_REPLY_TOKENS),
                    stops=[stop for stop in ([until] if isinstance(until, str) else until) if stop],
                    sampling=_sampling(options),
                    seed=self.seed,
                    observe=partial(_advance, bar, len(found)),
                )
                found.update(zip(numbers, texts, strict=True))
        return [found[number] for number in range(len(requests))]

    def _scored(self, pairs: Sequence[Pair]) -> list[ContinuationScore]:
        with self._meter("scoring", len(pairs)) as bar:
            return score_continuations(self.model.model, pairs, observe=bar.update)

    @contextmanager
    def _meter(self, title: str, total: int) -> Iterator[Meter]:
        """A meter that is shown although lm-eval is silenced."""
        with redirect_stderr(self._stderr), meter(title, total) as bar:
            yield bar


def _advance(bar: Meter, before: int, done: int) -> None:
    bar.update(before + done)


def _sampling(options: Mapping[str, Any]) -> SamplingSettings:
    """The sampling settings of a task: greedy unless it sets a temperature or `do_sample`.

    Raises:
        UserError: it sets an option that does not exist.
    """
    settings = dict(options)
    is_sampled = settings.pop("do_sample", settings.get("temperature", 0) > 0)
    settings["temperature"] = settings.get("temperature", 1.0) if is_sampled else 0.0
    return SamplingSettings.parse(settings, "generation_kwargs")


def run_lm_eval(
    model: LanguageModel, task: str, *, folder: str | Path | None, num_shots: int | None, limit: int | None, seed: int
) -> tuple[dict[str, Any], dict[str, TaskSamples]]:
    """lm-eval's metrics of a task or a group of tasks, and the examples of each task.

    Args:
        folder: one with tasks (YAML) besides those that lm-eval brings.
        num_shots: few-shot examples before each question; the task's own number if None.
        limit: the number of examples; all if None.

    Returns:
        lm_eval, lm_eval_version, results (of each task: its metrics by lm-eval's names, and num_examples).

    Raises:
        UserError: there is no such task or folder, or its data is not available.
    """
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"--lm-eval-path {folder}: there is no such folder")
    adapter = LmEvalModel(model, seed)
    with quiet(), _alone():
        tasks = _task_manager(task, folder)
        try:
            found = simple_evaluate(
                model=adapter,
                tasks=[task],
                num_fewshot=num_shots,
                limit=limit,
                bootstrap_iters=NUM_RESAMPLES,
                log_samples=True,
                apply_chat_template=model.template is not None,
                task_manager=tasks,
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
        except (OSError, DatasetsError) as error:
            raise UserError(
                f"lm-eval cannot get the data of {task} ({_first_line(error)}): most of its tasks fetch theirs from "
                "huggingface.co; --lm-eval-path takes a task over local files"
            ) from error
    results = {
        name: {
            **{key: _plain(value) for key, value in figures.items() if "," in key},
            "num_examples": found["n-samples"].get(name, {}).get("effective"),
        }
        for name, figures in found["results"].items()
    }
    samples = {name: task_samples(some, results.get(name, {})) for name, some in found["samples"].items()}
    return {"lm_eval": task, "lm_eval_version": __version__, "results": results}, samples


def _task_manager(task: str, folder: str | Path | None) -> TaskManager:
    """A task manager that has the task: the folder's own is found without reading the thousands of lm-eval.

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
        raise UserError(f"lm-eval has no task {task} ({advice}); --lm-eval-path names a folder with more")
    return tasks


@contextmanager
def _alone() -> Iterator[None]:
    """While the block runs, lm-eval starts no other program: it resamples in this process, and reads neither the
    state of git nor that of the machine."""
    with ExitStack() as after:
        for name in ("get_git_commit_hash", "add_env_info"):
            after.callback(setattr, evaluator, name, getattr(evaluator, name))
            setattr(evaluator, name, lambda *_: None)
        if ONE_PROCESS not in os.environ:
            after.callback(os.environ.pop, ONE_PROCESS)
            os.environ[ONE_PROCESS] = "1"
        yield


def _plain(value: Any) -> float | None:
    """A figure as a JSON value; None if lm-eval has none."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def _first_line(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)
