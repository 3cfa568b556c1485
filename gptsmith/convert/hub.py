"""Models on the Hugging Face Hub, fetched into the cache: one revision whole, with the checksums that the Hub names."""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError, UserError, one_line
from gptsmith.base.files import read_table, sha256_of, write_json
from gptsmith.base.leftovers import remove
from gptsmith.data.cache import MANIFEST, mark_used, only_builder

PREFIX = "hf:"
"""Before the name of a model on the Hub, wherever a model is named."""
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "README.md")
"""The files of a model that are fetched. A certificate of ours knows its card too."""
FOLDER = "huggingface_hub"
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
TIMEOUT_S = 30
NUM_TRIES = 2
"""How often a file is fetched that comes with other content than the Hub names."""


def on_the_hub(path: str | Path) -> Path | None:
    """The folder of a model named `hf:owner/name` or `hf:owner/name@revision`, fetched; None for other names.

    Raises:
        ConversionError: as `fetch` does.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return None
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    return fetch(name, revision or None)


def require_out(model: str | Path, out: object) -> None:
    """Checks that a place is named for what is made of a model on the Hub, beside which nothing can be put.

    Raises:
        ConversionError: none is.
    """
    if out is None and str(model).startswith(PREFIX):
        raise ConversionError(f"{model} is on the Hub, so nothing can be put beside it: name a folder with --out")


def fetch(name: str, revision: str | None = None) -> Path:
    """The files of a model on the Hub, in the cache: those of one revision, and of no other.

    What is there whole is not fetched again; without a network the revision that was fetched last is used, and said.

    Raises:
        ConversionError: there is no such folder or model, it may not be had, there is no network, or a file came with
            other content than the Hub names.
    """
    name = name.removeprefix(PREFIX)
    if not NAME.fullmatch(name) or name.startswith("."):
        raise ConversionError(
            f"{name}: there is no such folder (a model on the Hub is named such as openai-community/gpt2)"
        )
    if revision is not None and COMMIT.fullmatch(revision) and (whole := _whole(_folder(name, revision))):
        return whole
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        # Requested first, because fetching retries for long without a network.
        info = api.model_info(name, revision=revision, timeout=TIMEOUT_S, files_metadata=True)
    except Exception as error:
        was_answered = getattr(error, "response", None) is not None
        if revision is None and not was_answered and (known := _last_fetched(name)):
            note(f"the Hub cannot be reached: {name} as it was fetched before, revision {known.parent.name}")
            return known
        raise _refusal(name, revision, error) from None
    commit = str(info.sha)
    target = _folder(name, commit)
    with only_builder(private_folder(target.parent.parent) / commit):
        if whole := _whole(target):
            return whole
        note(f"fetching {name} from the Hub")
        _clear_broken_downloads(private_folder(target))
        files = [file for file in info.siblings or () if any(fnmatch(file.rfilename, one) for one in PATTERNS)]
        for _ in range(NUM_TRIES):
            try:
                api.snapshot_download(name, revision=commit, local_dir=target, allow_patterns=list(PATTERNS))
            except Exception as error:
                raise _refusal(name, revision, error) from None
            changed = [file.rfilename for file in files if not _is_same(target / file.rfilename, file)]
            for path in changed:
                remove(target / path)
            if not changed:
                break
        else:
            raise ConversionError(
                f"{changed[0]} of {name} comes with other content than its checksum on the Hub says: try again later, "
                "and if it stays so, tell its owner"
            )
        sizes = {file.rfilename: (target / file.rfilename).stat().st_size for file in files}
        write_json(_manifest(target), {"name": name, "files": sizes})
    return target


def _folder(name: str, commit: str) -> Path:
    return default_cache() / FOLDER / commit / name.replace("/", "--")


def _manifest(target: Path) -> Path:
    return target.with_name(f"{target.name}.{MANIFEST}")


def _whole(target: Path) -> Path | None:
    """A fetched folder, if all of its files were checked and are still there."""
    try:
        files = read_table(_manifest(target))["files"]
        if all((target / name).stat().st_size == num_bytes for name, num_bytes in files.items()):
            mark_used(target.parent)
            return target
    except (UserError, OSError, KeyError, AttributeError):
        pass
    return None


def _last_fetched(name: str) -> Path | None:
    """The folder of a model that was fetched last; None if there is none."""
    folders = [path for path in (default_cache() / FOLDER).glob(f"*/{name.replace('/', '--')}") if _whole(path)]
    return max(folders, key=lambda path: _manifest(path).stat().st_mtime, default=None)


def _clear_broken_downloads(target: Path) -> None:
    """Delete the parts of files that a process which died has left, with which the library does not go on."""
    for path in (target / ".cache" / "huggingface" / "download").rglob("*.incomplete"):
        remove(path)


def _is_same(path: Path, file: Any) -> bool:
    """Whether a file has the hash that the Hub names: SHA-256 of a large one, Git's of a small one."""
    if file.lfs is not None:
        return sha256_of(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id


def _refusal(name: str, revision: str | None, error: Exception) -> ConversionError:
    """The line for a person about an error of the library, or of the network below it."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    begin = f"{name} is no folder here, and could not be fetched from the Hub"
    if isinstance(error, GatedRepoError):
        advice = "its owner gives it to those who accept terms: accept them on its page, and set HF_TOKEN to your token"
    elif isinstance(error, RevisionNotFoundError):
        return ConversionError(f"{name} on the Hub has no revision {revision}: give a branch, a tag or a commit")
    elif isinstance(error, RepositoryNotFoundError):
        advice = "there is no such model, or it is private: check the name, or set HF_TOKEN to your token"
    else:
        reason = one_line(error) or type(error).__name__
        advice = f"{type(error).__name__}: {reason}; check the name and the network, or bring the folder here yourself"
    return ConversionError(f"{begin} ({advice})")
