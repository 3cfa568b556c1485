"""Two hosts train one model: one is lost and comes back, and then the one at which they meet.

The hosts are two network namespaces, each with a loopback of its own, and a cable between them.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gptsmith.base.runlog import RunLog
from gptsmith.run.checkpoint import list_checkpoints
from tests.workflows.conftest import SMALL
from tests.workflows.together import same_bits, wait_for_step, work, workers

pytestmark = pytest.mark.story

NUM_STEPS = 200
SETTINGS = [
    *SMALL, "model.embed_dim=32", "model.dropout=0.1", "train.dtype=float32", f"train.num_steps={NUM_STEPS}",
    "train.evaluate_every_steps=50", "checkpoint.every_steps=5", "checkpoint.keep_every_steps=20",
]  # fmt: skip
PORT = 29400


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass
class Host:
    """A network namespace, and what runs in it."""

    name: str
    address: str
    meets: str
    """The address of the host at which all meet."""
    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def said(self) -> str:
        return (self.folder / self.name).read_text(encoding="utf-8")

    def torchrun(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts one of two hosts, as docs/parallel.md says."""
        command = [
            "ip", "netns", "exec", self.name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2",
            "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint={self.meets}:{PORT}",
            f"--rdzv-conf=is_host={int(self.address == self.meets)},keep_alive_interval=1",
            f"--local-addr={self.address}", "-m", "gptsmith", *map(str, arguments),
        ]  # fmt: skip
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "cable", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        with (self.folder / self.name).open("a", encoding="utf-8") as said:
            process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, text=True)
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Kills torchrun, which cannot end its workers then. They end with it nevertheless."""
        process = self.started[-1]
        watched = [os.pidfd_open(pid) for pid in workers(process)]
        assert watched
        process.kill()
        process.wait()
        for worker in watched:
            assert select.select([worker], [], [], 30)[0], "a worker outlives torchrun"
            os.close(worker)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                for pid in [*workers(process), process.pid]:
                    os.kill(pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them; they meet at the first."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root and ip (of iproute2)")
    first, second = (
        Host(f"gptsmith-{os.getpid()}-{number}", f"10.77.0.{number}", "10.77.0.1", tmp_path) for number in (1, 2)
    )
    try:
        try:
            ip("netns", "add", first.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
        ip("netns", "add", second.name)
        ip("-n", first.name, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second.name)
        for host in (first, second):
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "cable")
            for link in ("lo", "cable"):
                ip("-n", host.name, "link", "set", link, "up")
        yield first, second
    finally:
        for host in (first, second):
            host.end()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def test_a_host_that_is_lost_comes_back_and_so_does_the_one_at_which_all_meet(
    text: Path, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    first, second = hosts
    run = tmp_path / "run"
    options = [part for value in SETTINGS for part in ("--set", value)]
    arguments = ["pretrain", text, "--out", run, *options]

    one, two = (host.torchrun(*arguments) for host in hosts)
    wait_for_step(one, run, 10)
    second.kill()
    two = second.torchrun(*arguments)
    wait_for_step(one, run, list_checkpoints(run / "checkpoints")[0].step + 10)
    assert "another process of this training has ended" in first.said
    assert (first.said + second.said).count("resumed from step") == 1
    assert two.poll() is None

    first.kill()
    assert two.wait(60) != 0  # nobody is there to meet
    assert list_checkpoints(run / "checkpoints")[0].step < NUM_STEPS
    one, two = (host.torchrun(*arguments) for host in hosts)
    assert (one.wait(120), two.wait(120)) == (0, 0)

    assert (first.said + second.said).count("resumed from step") == 2
    unbroken = {"sources": [str(text)], "out": str(tmp_path / "unbroken"), "settings": SETTINGS}
    work(tmp_path, 2, {"golden": unbroken})
    assert same_bits(run, tmp_path / "unbroken") >= NUM_STEPS // 20
    losses = [
        {row["step"]: row["train_loss"] for row in RunLog(folder / "metrics.jsonl").events() if row["event"] == "step"}
        for folder in (run, tmp_path / "unbroken")
    ]
    assert losses[0] == losses[1]
    assert max(losses[0]) == NUM_STEPS
