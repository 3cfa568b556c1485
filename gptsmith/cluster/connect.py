"""A connection to a cluster of Ray: one that is there, or one of this machine that lives as long as the connection."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gptsmith.base.errors import ConfigurationError, MissingExtraError, UserError, one_line
from gptsmith.base.own_ray import OPTIONS, require_secret

LOCAL, AUTO = "local", "auto"
ANSWER_TIMEOUT_S = 5.0
STORE_BYTES = 100 << 20
"""Ray's object store of a local cluster: nothing large passes through it."""
ENVIRONMENT: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # By default, a driver that `uv run` started sends its working folder to every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Variables that must be known before Ray is imported."""
GROUP_SHUTDOWN_TIMEOUT_S = {"TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1"}
"""How long Ray waits for a process group, one of whose members is dead, to take itself apart."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS_FRAME = 4


def imported_ray(*, is_local: bool) -> Any:
    """The module `ray`, with its trainers.

    Args:
        is_local: whether it will start a cluster of this machine.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.update(ENVIRONMENT)
    if is_local:
        require_secret()
    try:
        import ray
        import ray.train.torch
    except ImportError:
        raise MissingExtraError("--ray", "gptsmith[ray]") from None
    return ray


@contextmanager
def connected(address: str, num_workers: int | None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster while the block runs. A connection that the calling program has made
    is used, and left as it is.

    Args:
        address: `auto`, `local`, or HOST:PORT.
        num_workers: those that a local cluster must have room for.

    Raises:
        UserError: there is no such cluster, it does not answer, or this machine is no part of it.
    """
    ray = imported_ray(is_local=address == LOCAL)
    if ray.is_initialized():
        yield ray
        return
    if address == LOCAL:
        options: dict[str, Any] = {
            **OPTIONS,
            "object_store_memory": STORE_BYTES,
            "num_cpus": max(num_workers or 1, os.cpu_count() or 1),
        }
    else:
        options = {}
        address = _found_by_ray(ray) if address == AUTO else address
        require_answer(address)
    try:
        with _without_its_words():
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                runtime_env={"env_vars": GROUP_SHUTDOWN_TIMEOUT_S},
                **options,
            )
    except Exception as error:  # Ray raises whatever comes
        raise UserError(f"--ray {address}: Ray cannot connect ({one_line(error)})") from None
    try:
        with _without_reports(ray):
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def _without_its_words() -> Iterator[None]:
    """Keeps off standard error what Ray's own code writes there while the block runs."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _without_reports(ray: Any) -> Iterator[None]:
    """Keeps off standard output, which is for results, what Ray reports of workers that died, while the block runs."""
    own = ray._private.worker
    own._worker_logs_enabled, before = False, own._worker_logs_enabled
    try:
        yield
    finally:
        own._worker_logs_enabled = before


def _found_by_ray(ray: Any) -> str:
    """The address of the cluster that this machine is a part of.

    Raises:
        UserError: it is part of none, or of several.
    """
    try:
        found: str = ray._private.services.canonicalize_bootstrap_address_or_die(AUTO)
    except (ConnectionError, ValueError) as error:
        if "multiple" in str(error):
            raise UserError(f"--ray auto: {one_line(error)}") from None
        raise UserError(
            "--ray auto: no cluster of Ray runs on this machine: start one (ray start --head), join one "
            "(ray start --address HOST:6379), or use this machine alone (--ray local)"
        ) from None
    return found


def require_answer(address: str) -> None:
    """Checks that something which may be Ray answers at an address, in seconds. Ray itself tries for ever.

    Raises:
        ConfigurationError: it is no address.
        UserError: nothing answers.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 1 << 16) or "//" in host:
        raise ConfigurationError(f"--ray {address} is no address of a cluster: write auto, local, or HOST:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(HTTP2_PREFACE)
            answer = connection.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        reason = one_line(error)
    else:
        if len(answer) == 9 and answer[3] == SETTINGS_FRAME:
            return
        reason = "what answers is not Ray"
    raise UserError(
        f"--ray {address}: no cluster of Ray answers there ({reason}): see with `ray status` whether it runs, and that "
        "this is the address which `ray start --head` showed"
    )
