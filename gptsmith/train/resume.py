"""Runs that have not ended: the same command resumes one, with the settings and the data that it began with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gptsmith.base.errors import CheckpointError
from gptsmith.base.settings import Settings, changed_keys, fixed_settings
from gptsmith.data.summary import differences, is_same_data
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.folder import DATA, RESULT, SETTINGS, Run, require_free
from gptsmith.store.objects import is_remote
from gptsmith.train.request import TrainingRequest

_resume_options: ContextVar[tuple[str, ...]] = ContextVar("resume_options", default=())


@contextmanager
def resumed_with(options: tuple[str, ...]) -> Iterator[None]:
    """Shows these options with every command that resumes a run which is trained in the block."""
    token = _resume_options.set(options)
    try:
        yield
    finally:
        _resume_options.reset(token)


def resume_options() -> tuple[str, ...]:
    """What `--resume` needs beside it, so that the run continues as it was trained."""
    return _resume_options.get()


def is_resumable(folder: Path, request: TrainingRequest) -> bool:
    """Whether a folder is a run of the same request that has not ended."""
    if not (folder / SETTINGS).is_file() or (folder / RESULT).exists():
        return False
    run, cls = Run.open(folder), type(request)
    if run.made_by != cls.made_by or (began := cls.parse(run.request())).recorded() != request.recorded():
        return False
    with suppress(CheckpointError):  # a text that is gone is for the one who reads it
        # The same words in another folder may name other files.
        there, here = began.located(run.paths.located).located(_real_path), request.located(_real_path)
        return there.recorded() == here.recorded()
    return True


def _real_path(path: str | Path) -> str:
    return str(path) if is_remote(path) else str(Path(path).expanduser().resolve())


def chosen_folder(out: Path, request: TrainingRequest) -> Path:
    """The folder that is requested.

    Raises:
        CheckpointError: it is in use, and not by a run that this request resumes.
    """
    if not is_resumable(out, request):
        require_free(out)
    return out


def numbered(folder: Path) -> Iterable[Path]:
    """`runs/mine`, `runs/mine-2`, `runs/mine-3`, ..."""
    return (folder if n == 1 else folder.with_name(f"{folder.name}-{n}") for n in range(1, 10**6))


def require_fixed_settings(run: Run, settings: Settings, checkpoint: Checkpoint) -> None:
    """Checks that the settings which a run keeps to its end are those of its checkpoint. The kind of a group is one.

    Raises:
        CheckpointError: one of them changed; the message names it and lists all.
    """
    fixed = fixed_settings(type(settings))
    # Settings that the version of the checkpoint did not have stood at their defaults.
    then = type(settings).parse(checkpoint.settings(), str(checkpoint.folder))
    changed = changed_keys(then.plain(), settings.plain())
    if odd := [key for key in changed if key.endswith(".kind") or any(f"{key}.".startswith(f"{f}.") for f in fixed)]:
        raise CheckpointError(
            f"{run.place} keeps its original settings, because what it has learnt came of them, and {', '.join(odd)} "
            f"changed: restore them (only these are fixed: {', '.join(fixed)}, and kinds), or start a new run"
        )


def require_same_data(run: Run, summary: Mapping[str, Any]) -> None:
    """Checks that a run's data is what it was trained on.

    Args:
        summary: the content that data.json would have now.

    Raises:
        CheckpointError: it has changed.
    """
    if not (run.folder / DATA).exists() or is_same_data(recorded := run.data(), summary):
        return
    raise CheckpointError(
        f"the data of {run.place} has changed since it was trained on{differences(recorded, summary)}: bring the old "
        "data back, or start a new run"
    )
