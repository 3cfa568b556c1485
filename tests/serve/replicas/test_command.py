"""What replicas cannot serve is said in one line, before or after they were started."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gptsmith import cli
from gptsmith.base.errors import UserError
from gptsmith.serve.replicas import keeper, server
from gptsmith.serve.replicas.process import threads_each

from ...workflows.conftest import Outcome


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gptsmith", "serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--replicas", "0"], "replicas"),
        (["--replicas", "-1"], "replicas"),
        (["--replicas", "two"], "replicas"),
        (["--replicas", "2", "--host", "0.0.0.0"], "--api-key-file"),
        (["--replicas", "2", "--tls-key", "none"], "--tls-certificate"),
        (["--replicas", "2", "FOLDER"], "is a folder of models"),
        (["--replicas", "2", "--documents", "none"], "none"),
        (["--replicas", "2", "gone=none"], "no such run"),
        (["--replicas", "2", "chat=none"], "both called chat"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_nothing(
    call: Callable[..., Outcome], runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    monkeypatch.setattr(keeper, "ReplicaProcess", None)
    outcome = call(runs / "chat", *(str(runs) if word == "FOLDER" else word for word in arguments), "--port", 0)
    assert outcome.code == 2
    assert problem in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_port_that_is_in_use_is_told(call: Callable[..., Outcome], runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = call(runs / "chat", "--replicas", 2, "--port", other.getsockname()[1])
    assert outcome.code == 2
    assert "is not available" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.story
def test_what_a_replica_finds_wrong_is_one_line(call: Callable[..., Outcome], runs: Path) -> None:
    outcome = call(runs / "chat", "--replicas", 2, "--port", 0, "--draft", "nowhere")
    assert outcome.code == 2
    assert "nowhere" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_more_replicas_than_cores_are_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object, **__: object) -> None:
        raise UserError("none")

    monkeypatch.setattr(keeper, "ReplicaProcess", none)
    monkeypatch.setattr(server, "num_cpus", lambda: 4)
    for count, is_told in ((4, False), (5, True)):
        with pytest.raises(UserError):
            server.ReplicatedServer(server.ServeRequest(runs=[runs / "chat"], replicas=count, port=0))
        assert ("5: this machine has 4 cores" in capsys.readouterr().err) is is_told


def test_cores_are_divided_unless_a_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.serve.replicas.process.num_cpus", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(count) for count in (2, 3, 8, 9)] == [4, 2, 1, 1]
    for given, expected in (("3", 3), ("0", 4), ("x", 4), ("", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert threads_each(2) == expected
