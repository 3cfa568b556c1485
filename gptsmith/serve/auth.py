"""API keys."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

from gptsmith.base.errors import ConfigurationError

SHORTEST_KEY = 16


class ApiKeys:
    """The keys that are accepted; only their hashes are kept."""

    def __init__(self, keys: list[str]) -> None:
        self._hashes = [_hash(key.encode()) for key in keys]

    def accepts(self, authorization: str) -> bool:
        """Whether a header says `Bearer` and one of the keys. It takes as long for a key that is nearly right."""
        scheme, _, given = authorization.partition(" ")
        given_hash = _hash(given.strip().encode("latin-1", "replace"))
        # All are compared, so that the time does not tell which one was near.
        matches = [hmac.compare_digest(given_hash, known) for known in self._hashes]
        return any(matches) and scheme.lower() == "bearer"


def read_api_keys(path: str | Path) -> ApiKeys:
    """The keys in a file, one per line; empty lines and those that begin with # are skipped.

    Raises:
        ConfigurationError: it cannot be read, others can read it too, or it holds no sound key.
    """
    try:
        with Path(path).open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigurationError(
                    f"--api-key-file {path} can be read by others (mode {stat.S_IMODE(mode):03o}): chmod 600 {path}"
                )
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ConfigurationError(f"--api-key-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--api-key-file {path}: keys are of letters, digits and signs of ASCII") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigurationError(f"--api-key-file {path} holds no key: write one per line")
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST_KEY or " " in key:
            raise ConfigurationError(
                f"--api-key-file {path}: key {number} needs {SHORTEST_KEY} characters or more, and no spaces"
            )
    return ApiKeys(keys)


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
