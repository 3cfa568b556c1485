"""Rewards: functions of a conversation, a completion of it and the reference answer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from gptsmith.base.errors import CheckpointError, UserError, one_line
from gptsmith.base.hints import shell_command
from gptsmith.base.outside import registered, registered_function
from gptsmith.convert.load import load
from gptsmith.evaluate import scorers
from gptsmith.evaluate.scorers import ScorerSettings
from gptsmith.evaluate.scorers.pattern import PatternSettings
from gptsmith.text.chat_template import Message
from gptsmith.train.datasets.base import Reward
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives.reward_model import RewardModelSettings, rewards
from gptsmith.train.samples import Sample
from gptsmith.train.trust import python_function, require_trust


def reward_of(name: str, locate: Callable[[str], str] = str) -> Reward:
    """The reward that `train.objective.reward` names.

    Args:
        locate: gives the path of a file or folder as it can be opened now.

    Raises:
        UserError: it names none, or code in a file that the command does not name (see `gptsmith.train.trust`).
    """
    kind, _, pattern = name.partition(":")
    if kind == "pattern":
        return _scored(PatternSettings.parse({"pattern": pattern}, "train.objective.reward"))
    if name in scorers.KINDS.names():
        return _scored(scorers.KINDS.validate(name))
    if name in (installed := registered(__name__)):
        return registered_function(installed[name])
    if (code := python_function(name)) is not None:
        return _function_in(Path(locate(code[0])), code[1])
    with suppress(CheckpointError):
        if Path(folder := locate(name)).is_dir():
            return model_reward(folder)
    raise UserError(
        f"train.objective.reward={name}: no such reward (allowed: number, exact, contains, pattern:REGEX, the folder "
        "of a reward model, FILE.py:FUNCTION, or the name that an installed package registers)"
    )


def _scored(scorer: ScorerSettings) -> Reward:
    """1 if the scorer finds the completion correct, else 0."""
    return lambda _messages, completion, answer: float(scorer.is_correct(completion, answer))


def _function_in(file: Path, name: str) -> Reward:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UserError(f"train.objective.reward: there is no file {file}")
    require_trust(file, name)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"train.objective.reward: {file} fails ({type(error).__name__}: {one_line(error)})") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"train.objective.reward: {file} defines no function {name}")
    found: Reward = function
    return found


def model_reward(run: str | Path) -> Reward:
    """The reward that a reward model gives.

    Raises:
        UserError: the run is no reward model.
    """
    loaded = load(run)
    if loaded.config.num_labels != 1 or loaded.template is None:
        raise UserError(
            f"{run} is not a reward model: make one with "
            f"{shell_command('finetune', 'RUN', 'PAIRS', '--objective', 'reward_model')}"
        )
    encoder = Encoder(loaded.tokenizer, loaded.template, loaded.config.context_length)
    objective = RewardModelSettings()

    @torch.inference_mode()
    def reward(messages: Sequence[Message], completion: str, _answer: str) -> float:
        fitted = encoder.completions(messages, (completion,), only_last=False)
        batch = objective.collate([[Sample("", fitted.sequences)]]).to(loaded.model.device)
        return float(rewards(loaded.model, batch)[0])

    return reward
