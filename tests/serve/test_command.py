"""The verb: a process that serves, ends in good order, and says in one line what it cannot do."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from openai import OpenAI

from gptsmith import cli
from gptsmith.serve.server import bound_socket

from ..forked import Forked
from ..workflows.conftest import Outcome


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gptsmith", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run


def test_a_process_serves_until_it_is_told_to_end(runs: Path, tmp_path: Path) -> None:
    key = "sk-0123456789abcdef"
    keys = tmp_path / "keys"
    keys.write_text(f"{key}\n", encoding="ascii")
    keys.chmod(0o600)
    command = ["serve", runs / "base", f"talk={runs / 'chat'}", "--port", 0, "--device", "cpu"]
    command += ["--api-key-file", keys, "--drain-s", 20]
    process = Forked(*command, environment={"COLUMNS": "200"})
    try:
        found = process.said(r"serving base, talk on (http://127\.0\.0\.1:\d+)/")
        with OpenAI(base_url=f"{found[1]}/v1", api_key=key) as client:
            assert [model.id for model in client.models.list()] == ["base", "talk"]
            stream = client.completions.create(model="base", prompt="The", max_tokens=40, stream=True)
            first = next(iter(stream))
            process.send_signal(signal.SIGTERM)
            rest = list(stream)
        assert first.choices[0].text
        assert rest[-1].choices[0].finish_reason in ("length", "stop")
        _, log = process.communicate(30)
        assert process.poll() == 0
    finally:
        process.kill()
    assert "POST /v1/completions 200" in log
    assert key not in log
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{found[1]}/health", timeout=5)


def test_ctrl_c_is_acknowledged_and_json_says_where_it_serves(runs: Path) -> None:
    process = Forked("serve", runs / "base", "--port", 0, "--device", "cpu", "--json")
    try:
        said = json.loads(process.said(r"\{.*\}\n")[0])
        assert said["models"] == ["base"]
        assert urllib.request.urlopen(f"{said['address']}/health").status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(30)
    finally:
        process.kill()
    assert (process.poll(), len(out.splitlines())) == (130, 1)
    assert "stopping: requests that run have 30 s to end; press again to stop at once" in err
    assert "Traceback" not in err


def test_a_port_that_is_in_use_is_told(call: Callable[..., Outcome], runs: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = call("serve", runs / "base", "--port", port)
    assert outcome.code == 2
    assert re.fullmatch(
        rf"gptsmith: --port {port} on 127\.0\.0\.1 is not available .*or 0 for a free one\n", outcome.err
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--host", "0.0.0.0"], "--api-key-file"),
        (["--port", "99999"], "a port is a number"),
        (["--api-key-file", "none"], "cannot be read"),
        (["--host", "no.such.host.invalid", "--api-key-file", "KEYS"], "no address of this machine"),
        (["SAME"], "both called base"),
        (["missing=runs/none"], "no such run"),
    ],
)
def test_what_cannot_be_is_one_line(
    call: Callable[..., Outcome], runs: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sk-0123456789abcdef\n", encoding="ascii")
    keys.chmod(0o600)
    real = {"KEYS": str(keys), "SAME": str(runs / "base")}
    port = [] if "--port" in arguments else ["--port", "0"]
    outcome = call("serve", runs / "base", *(real.get(argument, argument) for argument in arguments), *port)
    assert outcome.code == 2
    assert problem in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_free_port_is_found() -> None:
    with bound_socket("127.0.0.1", 0) as listening:
        assert listening.getsockname()[1] > 0


def test_a_template_that_does_not_end_does_not_keep_the_server_from_ending(runs: Path, tmp_path: Path) -> None:
    code = (
        "import time; from gptsmith.text.chat_template import ChatTemplate; from gptsmith import cli\n"
        "def loop(*_, **__):\n    while True: time.sleep(0.01)\n"
        "ChatTemplate.render = loop; cli.main()"
    )
    command = ["serve", runs / "chat", "--port", 0, "--device", "cpu", "--drain-s", 0.1]
    process = Forked(*command, program=code, environment={"COLUMNS": "200"})
    try:
        found = process.said(r":(\d+)/")
        body = b'{"model":"chat","messages":[{"role":"user","content":"a"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(found[1]))) as asking:
            asking.sendall(head.encode() + body)
            assert urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health").status == 200
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(30)
        assert process.poll() == 0
        assert "does not end" in err
    finally:
        process.kill()
