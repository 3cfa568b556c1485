"""A verb that trains, run by the workers of a cluster."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base import console
from gptsmith.base.errors import ConfigurationError, UserError, one_line
from gptsmith.base.interrupts import EXIT_CODE, SIGNALS
from gptsmith.base.outside import imported_files
from gptsmith.cluster.connect import connected
from gptsmith.cluster.mailbox import Mailbox, News
from gptsmith.cluster.worker import Order, work
from gptsmith.run.distributed import TIMEOUT
from gptsmith.train.request import ClusterRequest
from gptsmith.train.text_request import READ_PATHS

LISTEN_EVERY_S = 0.25
ENDING_S = 60.0
"""How long Ray may take to end the workers once what was requested cannot be done: it starts them again first."""
IN_PYTHON_ONLY = ("callbacks", "reward")


def train_on_ray(verb: Callable[..., dict[str, Any]], request: ClusterRequest, started: float) -> dict[str, Any]:
    """The figures of a run that the workers of a cluster train. They are started again from the newest checkpoint
    when one of them, or its host, dies.

    Args:
        verb: the verb, which each worker calls with the request.
        started: the `time.monotonic()` from which the command's time counts.

    Raises:
        UserError: as the verb does, or the cluster cannot be used.
    """
    address = request.ray
    assert address is not None
    _require_one_command(request)
    with connected(address, request.workers) as ray, tempfile.TemporaryDirectory() as own_files:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        num_gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        num_workers = request.workers or num_gpus or len(nodes)
        uses_gpus = request.device in (None, "auto", "cuda") and num_gpus >= num_workers
        num_threads = threads_of_each([int(node.get("CPU", 0)) for node in nodes], num_workers)
        mailbox = _mailbox(ray, started)
        order = Order(
            verb=verb,
            request=_arguments(request),
            mailbox=mailbox,
            folder=str(Path.cwd()),
            needs_folder=_names_relative_paths(request),
            imports=tuple(str(file.path) for file in imported_files()),
            num_threads=num_threads,
            width=console.notes.width if console.notes.is_terminal else None,
            resume_options=("--ray", address, "--workers", str(num_workers)),
        )
        console.note(f"{num_workers} workers of Ray on {len(nodes)} hosts, {num_threads} threads each", "dim")
        trainer = ray.train.torch.TorchTrainer(
            work,
            train_loop_config={"order": order},
            torch_config=ray.train.torch.TorchConfig(
                backend="cpu:gloo,cuda:nccl" if uses_gpus else "gloo", timeout_s=int(TIMEOUT.total_seconds())
            ),
            scaling_config=ray.train.ScalingConfig(
                num_workers=num_workers,
                use_gpu=uses_gpus,
                resources_per_worker={"CPU": num_threads, **({"GPU": 1} if uses_gpus else {})},
            ),
            # How many restarts are too many, the mailbox decides: those in which nothing was learnt.
            run_config=ray.train.RunConfig(
                name="run", storage_path=own_files, failure_config=ray.train.FailureConfig(max_failures=-1)
            ),
        )
        return _followed(ray, trainer, mailbox)


def _require_one_command(request: ClusterRequest) -> None:
    """Checks that this is a command of its own, whose request can travel.

    Raises:
        ConfigurationError: it is not.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError("--ray starts the processes itself: leave torchrun out")
    if given := [name for name in IN_PYTHON_ONLY if getattr(request, name, None)]:
        raise ConfigurationError(
            f"{given[0]}: objects of this process cannot be called by workers of Ray; put them in a file that --import "
            "names, as kinds"
        )


def _arguments(request: ClusterRequest) -> dict[str, Any]:
    """The arguments of the verb in a worker."""
    left_out = {"ray", "workers", "started", *IN_PYTHON_ONLY}
    return {
        name: value
        for name in type(request).model_fields
        if name not in left_out and (value := getattr(request, name)) not in (None, [], (), "")
    }


def _names_relative_paths(request: ClusterRequest) -> bool:
    """Whether anything that is read or written is named relative to the working folder."""
    given: list[Any] = [getattr(request, "resume", None) or getattr(request, "out", None) or "runs"]
    for name in (READ_PATHS | {"config"}) & type(request).model_fields.keys():
        value = getattr(request, name)
        given += [value] if isinstance(value, str | Path) else value or []
    return any(value and ":" not in str(value) and not Path(value).expanduser().is_absolute() for value in given)


def threads_of_each(cpus: Sequence[int], num_workers: int) -> int:
    """The threads of each worker: the most with which all of them find room on hosts of so many CPUs; at least 1."""
    return max(
        (n for n in range(1, max(cpus, default=1) + 1) if sum(cpu // n for cpu in cpus) >= num_workers), default=1
    )


def _mailbox(ray: Any, started: float) -> Any:
    """The mailbox, on this host."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote(time.monotonic() - started)


def _followed(ray: Any, trainer: Any, mailbox: Any) -> dict[str, Any]:
    """The figures of the run, which another thread has Ray train, while this one hears what the workers say.

    Raises:
        UserError: the workers cannot do what was requested.
        KeyboardInterrupt: Ctrl-C came before they had begun to train.
        SystemExit: another signal did.
    """
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=fit, name="ray", daemon=True)
    thread.start()
    try:
        return _heard(ray, thread, mailbox, failures)
    finally:
        if thread.is_alive():
            console.note("Ray ends the workers", "dim")
        # Ray crashes the process if it is shut down while a thread asks it for something.
        thread.join(ENDING_S)


def _heard(ray: Any, thread: threading.Thread, mailbox: Any, failures: list[BaseException]) -> dict[str, Any]:
    """The figures, once the workers have told them. Says what they say until then, and tells them to stop.

    Args:
        thread: the one that has Ray train.
        failures: why it has ended, if it failed.
    """
    said = News()
    with _signals() as received:
        while True:
            has_ended = not thread.is_alive()
            news = _news(ray, mailbox)
            _show(news, said)
            said = news
            if news.error is not None:
                raise UserError(news.error)
            if news.figures is not None:
                thread.join()
                return news.figures
            if has_ended:
                raise UserError(f"Ray has ended the training ({one_line(failures[0] if failures else 'no reason')})")
            if received:
                if not news.is_training:
                    mailbox.fail.remote("interrupted")
                    raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(EXIT_CODE + received[0])
                mailbox.stop.remote(int(received[0]))
            time.sleep(LISTEN_EVERY_S)


def _news(ray: Any, mailbox: Any) -> News:
    """What the workers have said since the last time.

    Raises:
        UserError: the cluster is gone.
    """
    try:
        news: News = ray.get(mailbox.news.remote())
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the cluster of Ray is gone ({one_line(error)}): start it, and give the same command again, which goes on "
            "from the newest checkpoint"
        ) from None
    return news


def _show(news: News, before: News) -> None:
    """Shows what is new, as the workers have written it."""
    if console.notes.quiet:
        return
    if news.num_restarts > before.num_restarts:
        console.note("\na worker or its host died: all start again, from the newest checkpoint", "yellow")
    if news.text:
        sys.stderr.write(news.text)
        sys.stderr.flush()


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """The signals that came while the block runs, in the main thread. One that is ignored stays ignored."""
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {
        number: signal.signal(number, lambda number, _: received.append(signal.Signals(number))) for number in heard
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
