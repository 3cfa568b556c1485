"""What `--ray` cannot do is said in one line, before anything starts."""

from __future__ import annotations

import builtins
import signal
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import ConfigurationError, MissingExtraError, UserError
from gptsmith.cluster import worker
from gptsmith.cluster.connect import require_answer
from gptsmith.cluster.mailbox import MAX_RESTARTS, Mailbox
from gptsmith.cluster.training import threads_of_each
from gptsmith.cluster.worker import Order, enter_folder, require_versions_of, versions
from gptsmith.train.callbacks.signals import StopOnSignal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 2}, "--workers 2 are those of a cluster of Ray: give its address too"),
        ({"ray": "auto", "private": 8.0}, "--private trains in one process: leave --ray out"),
        ({"ray": "local", "workers": 0}, "workers"),
        ({"ray": "ray://host:10001"}, "no address of a cluster: write auto, local, or HOST:6379"),
        ({"ray": "host"}, "no address of a cluster"),
        ({"ray": "host:70000"}, "no address of a cluster"),
        ({"ray": "local", "callbacks": [gptsmith.Callback()]}, "callbacks: objects of this process cannot be called"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    if arguments.get("ray", "").partition(":")[0] in ("ray", "host"):
        pytest.importorskip("ray.train")
    with pytest.raises(ConfigurationError, match=message):
        gptsmith.pretrain(["text"], out=tmp_path / "run", **arguments)


def test_trials_run_in_one_process() -> None:
    with pytest.raises(ConfigurationError, match="--trials run one by one, each in one process: leave --ray out"):
        gptsmith.finetune("run", ["data"], trials=3, ray="auto")


def test_torchrun_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="leave torchrun out"):
        gptsmith.pretrain(["text"], ray="auto")


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without_ray(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "ray":
            raise ImportError(name)
        return usual(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(MissingExtraError, match=r"pip install 'gptsmith\[ray\]'"):
        gptsmith.pretrain(["text"], ray="local")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_an_address_where_nothing_answers_is_said() -> None:
    with pytest.raises(UserError, match=r"--ray 127.0.0.1:\d+: no cluster of Ray answers there \(.*refused"):
        require_answer(f"127.0.0.1:{free_port()}")


def test_an_address_where_something_else_answers_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UserError, match="what answers is not Ray"):
            require_answer(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_an_address_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.cluster.connect.ANSWER_TIMEOUT_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UserError, match=r"no cluster of Ray answers there \(timed out\)"),
    ):
        require_answer(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_host_with_another_version_is_refused() -> None:
    require_versions_of({"host": "anvil", **versions()})
    with pytest.raises(UserError, match=r"torch is .* here, and 1\.0 on anvil, .*: install the same on all hosts"):
        require_versions_of({"host": "anvil", **versions(), "torch": "1.0"})


def order(folder: str, *, needs_folder: bool) -> Order:
    return Order(
        verb=dict, request={}, mailbox=None, folder=folder, needs_folder=needs_folder, imports=(), num_threads=1,
        width=None, resume_options=(),
    )  # fmt: skip


def test_a_host_without_the_command_s_folder_is_refused_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entered: list[str] = []
    monkeypatch.setattr(worker.os, "chdir", entered.append)
    enter_folder(order(str(tmp_path), needs_folder=True))
    enter_folder(order(str(tmp_path / "absent"), needs_folder=False))
    with pytest.raises(UserError, match=r"no folder .*absent, where the command was given: .* shared disk"):
        enter_folder(order(str(tmp_path / "absent"), needs_folder=True))
    assert entered == [str(tmp_path)]


@pytest.mark.parametrize(
    ("cpus", "num_workers", "threads"),
    [([8], 2, 4), ([8, 8], 2, 8), ([8, 2], 2, 4), ([8, 2], 3, 2), ([2], 8, 1), ([0, 4], 4, 1), ([], 1, 1)],
)
def test_workers_share_the_cpus_of_their_hosts(cpus: list[int], num_workers: int, threads: int) -> None:
    assert threads_of_each(cpus, num_workers) == threads


def test_a_worker_that_saves_after_ctrl_c_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LISTEN_EVERY_S", 0)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
    has_ended, stopping, asked = threading.Event(), StopOnSignal(), []

    def ask() -> int:
        asked.append(stopping.received)
        if len(asked) == 3:
            has_ended.set()
        return signal.SIGINT

    mailbox = SimpleNamespace(signal=SimpleNamespace(remote=ask))
    worker.StopWithCommand(mailbox)._listen(stopping, has_ended)
    assert asked == [None, signal.SIGINT, signal.SIGINT]


def test_deaths_are_counted_while_nothing_is_learnt() -> None:
    mailbox = Mailbox(seconds=0.0)
    for step in (0, 5, 5, 5, 8, 8, 8, 8):
        mailbox.enter(True)
        mailbox.enter(False)
        mailbox.begin("/runs/mine", step)
    assert mailbox.news().error is None
    mailbox.crash("CUDA error")
    entered = mailbox.enter(True)
    assert (entered.run, entered.is_over) == ("/runs/mine", True)
    news = mailbox.news()
    assert f"died {MAX_RESTARTS + 1} times in a row at step 8 (CUDA error)" in str(news.error)
    assert news.num_restarts == 8
