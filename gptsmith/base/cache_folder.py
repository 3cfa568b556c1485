"""The folder of what is kept from one command to the next, in which only its owner can look."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from gptsmith.base.errors import DataError


def default_cache() -> Path:
    """The folder named by the environment variable GPTSMITH_CACHE, or the system's folder for caches."""
    given = os.environ.get("GPTSMITH_CACHE")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("gptsmith")


def private_folder(folder: Path) -> Path:
    """The folder, created if it is missing; only its owner can look in, if the system knows of owners.

    Raises:
        DataError: it cannot be made.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache folder {folder} cannot be made: {error.strerror}; name another one with GPTSMITH_CACHE"
        ) from None
    return folder
