"""Exported folders brought to the Hugging Face Hub, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError, one_line
from gptsmith.convert.hub import NAME, PREFIX

LOGIN = "hf auth login"
"""The command of the library that keeps a token."""


def pushed_name(given: str) -> str:
    """`owner/name` from `hf:owner/name`.

    Raises:
        ConversionError: it is no name on the Hub.
    """
    name = given.removeprefix(PREFIX)
    if not given.startswith(PREFIX) or not NAME.fullmatch(name) or name.startswith("."):
        raise ConversionError(f"--push {given}: name a model on the Hub, such as hf:owner/name")
    return name


def require_login(name: str) -> None:
    """Checks that the Hub knows who pushes, before any work is done for it.

    Raises:
        ConversionError: nobody is logged in, the token is not valid, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    advice = f"log in with `{LOGIN}`, or set HF_TOKEN to a token that may write"
    if get_token() is None:
        raise ConversionError(f"pushing to {name} needs an account of the Hub, and nobody is logged in here: {advice}")
    try:
        HfApi().whoami()
    except Exception as error:
        if getattr(error, "response", None) is not None:
            raise ConversionError(f"pushing to {name}: the Hub does not accept the token here: {advice}") from None
        raise ConversionError(f"pushing to {name}: the Hub cannot be reached ({_reason(error)})") from None


def push(folder: Path, files: Sequence[str], name: str, *, public: bool) -> str:
    """Brings files of a folder to the Hub, all in one commit, and returns the address of that commit. A large file that
    the Hub has already, as after a push that broke off, is not sent again.

    Args:
        files: their paths in the folder.
        name: `owner/name`. It is made if there is none, and otherwise stays public or private as it is.

    Raises:
        ConversionError: the Hub refuses, or cannot be reached. It has none of the files then, but may keep the bytes of
            large ones for the next try.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    note(f"pushing {len(files)} files to {name} on the Hub")
    try:
        api.create_repo(name, private=not public, exist_ok=True)
        operations = [CommitOperationAdd(file, folder / file) for file in files]
        commit = api.create_commit(name, operations, commit_message=f"Upload {folder.name}, exported by gptsmith")
    except Exception as error:
        raise ConversionError(
            f"{folder} was exported, and could not be pushed to {name} ({_reason(error)}): the same command again "
            "sends what has not arrived"
        ) from None
    return commit.commit_url


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
