"""Models on the Hugging Face Hub, fetched into the cache: one revision whole, or one of its GGUF models, with the
checksums that the Hub names."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import note, note_once
from gptsmith.base.errors import ConversionError, UserError, one_line, shown
from gptsmith.base.files import lies_below, read_table, readable_bytes, sha256_of, write_json
from gptsmith.base.leftovers import remove
from gptsmith.convert.hub_gguf import choose, default_note, gguf_models
from gptsmith.data.cache import MANIFEST, mark_used, only_builder
from gptsmith.store.objects import Store, is_remote

PREFIX = "hf:"
"""Before the name of a model on the Hub, wherever a model is named."""
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "README.md")
"""The files of a model that are fetched. A certificate of ours knows its card too."""
FOLDER = "huggingface_hub"
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
WITH_CHOICE = re.compile(rf"({NAME.pattern})(?::([\w.-]+)|/(.+\.gguf))?", re.ASCII)
TIMEOUT_S = 30
NUM_TRIES = 2
"""How often a file is fetched that comes with other content than the Hub names."""


def on_the_hub(path: str | Path) -> Path | None:
    """The folder of a model named `hf:owner/name`, or the GGUF file of one named `hf:owner/name:quantisation` or
    `hf:owner/name/file.gguf`, with `@revision` behind it or not, fetched; None for other names.

    Raises:
        ConversionError: as `fetch` does.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return None
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    return fetch(name, revision or None)


def require_out(model: str | Path, out: object) -> None:
    """Checks that a place is named for what is made of a model on the Hub or in a store, where nothing can be put
    beside it.

    Raises:
        ConversionError: none is.
        StoreError: the model is at a URL of no store that is known.
    """
    if out is None and (str(model).startswith(PREFIX) or is_remote(model)):
        place = f"{Store(model).url} is in a store" if is_remote(model) else f"{model} is on the Hub"
        raise ConversionError(f"{place}, so nothing can be put beside it: name a folder with --out")


@dataclass(frozen=True)
class Wanted:
    """What somebody wants of the Hub.

    Attributes:
        name: the repository.
        choice: the quantisation or the file of one of its GGUF models; None for the model, or the default one.
    """

    name: str
    choice: str | None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """
        Raises:
            ConversionError: it is no name on the Hub.
        """
        match = WITH_CHOICE.fullmatch(text.removeprefix(PREFIX))
        if match is None or match[1].startswith("."):
            raise ConversionError(
                f"{text.removeprefix(PREFIX)}: there is no such folder (a model on the Hub is named such as "
                "openai-community/gpt2)"
            )
        return cls(match[1], match[2] or match[3])

    def files(self, sizes: Mapping[str, int]) -> list[str]:
        """Those that are fetched of a repository, of whose files the sizes in bytes are given. GGUF files are chosen
        from where one is named or there are no other weights; then the first is the one to open.

        Raises:
            ConversionError: there is no such GGUF model, or which one is not clear.
        """
        models = gguf_models(sizes)
        if self.choice is None and (not models or any(file.endswith(".safetensors") for file in sizes)):
            return [file for file in sizes if any(fnmatch(file, one) for one in PATTERNS)]
        if not models:
            raise ConversionError(f"{self.name} on the Hub holds no GGUF model: name it as {PREFIX}{self.name}")
        chosen = choose(self.name, models, self.choice)
        if missing := [file for file in chosen.files if file not in sizes]:
            raise ConversionError(f"{self.name} on the Hub lacks {missing[0]}, a part of {chosen.files[0]}")
        if self.choice is None and len(models) > 1:
            note_once(default_note(self.name, models, chosen))
        return list(chosen.files)


def fetch(name: str, revision: str | None = None) -> Path:
    """The files of a model on the Hub, in the cache: those of one revision, and of no other. The folder, or of a GGUF
    model its first file.

    What is there whole is not fetched again; without a network the revision that was fetched last is used, and said.

    Raises:
        ConversionError: there is no such folder or model, it may not be had, there is no network, or a file came with
            other content than the Hub names.
    """
    wanted = Wanted.parse(name)
    name = wanted.name
    if revision is not None and COMMIT.fullmatch(revision) and (whole := _whole(wanted, _folder(name, revision))):
        return whole
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        # Requested first, because fetching retries for long without a network.
        info = api.model_info(name, revision=revision, timeout=TIMEOUT_S, files_metadata=True)
    except Exception as error:
        was_answered = getattr(error, "response", None) is not None
        if revision is None and not was_answered and (known := _last_fetched(wanted)):
            commit, path = known
            note(f"the Hub cannot be reached: {name} as it was fetched before, revision {commit}")
            return path
        raise _refusal(name, revision, error) from None
    commit = str(info.sha)
    target = _folder(name, commit)
    siblings = {file.rfilename: file for file in info.siblings or ()}
    sizes = {file: int(about.size or 0) for file, about in siblings.items()}
    files = wanted.files(sizes)
    if outside := [file for file in (*files, commit) if not lies_below(file)]:
        raise ConversionError(f"{name} on the Hub has a file outside of its folder: {shown(outside[0])}")
    with only_builder(private_folder(target.parent.parent) / commit):
        if whole := _whole(wanted, target):
            return whole
        note(f"fetching {name} from the Hub ({readable_bytes(sum(sizes[file] for file in files))})")
        private_folder(target)
        # Patterns to the library, to which a bracket in a name is one.
        patterns = [glob.escape(file) for file in files]
        for _ in range(NUM_TRIES):
            try:
                _go_on_with_broken_downloads(name, target, {file: siblings[file] for file in files})
                api.snapshot_download(name, revision=commit, local_dir=target, allow_patterns=patterns)
            except Exception as error:
                raise _refusal(name, revision, error) from None
            changed = [file for file in files if not _is_same(target / file, siblings[file])]
            for file in changed:
                remove(target / file)
            if not changed:
                break
        else:
            raise ConversionError(
                f"{changed[0]} of {name} comes with other content than its checksum on the Hub says: try again later, "
                "and if it stays so, tell its owner"
            )
        checked = {**_checked(target), **{file: (target / file).stat().st_size for file in files}}
        write_json(_manifest(target), {"name": name, "repository": sizes, "files": checked})
    return _opened(target, files)


def _folder(name: str, commit: str) -> Path:
    return default_cache() / FOLDER / commit / name.replace("/", "--")


def _manifest(target: Path) -> Path:
    return target.with_name(f"{target.name}.{MANIFEST}")


def _opened(target: Path, files: list[str]) -> Path:
    """The path to open of files that were fetched: the first of a GGUF model, the folder of another."""
    return target / files[0] if files and files[0].endswith(".gguf") else target


def _checked(target: Path) -> dict[str, int]:
    """The files of a revision that were fetched and checked before, with their sizes in bytes."""
    try:
        return dict(read_table(_manifest(target))["files"])
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return {}


def _whole(wanted: Wanted, target: Path) -> Path | None:
    """The path to open in a fetched folder, if all that is wanted of it was checked and is still there."""
    try:
        files, checked = wanted.files(read_table(_manifest(target))["repository"]), _checked(target)
        if all((target / file).stat().st_size == checked[file] for file in files):
            mark_used(target.parent)
            return _opened(target, files)
    except (UserError, OSError, KeyError, AttributeError, TypeError):
        pass
    return None


def _last_fetched(wanted: Wanted) -> tuple[str, Path] | None:
    """The commit that was fetched last and has what is wanted, and the path to open; None if there is none."""
    folders = (default_cache() / FOLDER).glob(f"*/{wanted.name.replace('/', '--')}")
    whole = [(folder, path) for folder in folders if (path := _whole(wanted, folder))]
    last = max(whole, key=lambda one: _manifest(one[0]).stat().st_mtime, default=None)
    return last and (last[0].parent.name, last[1])


def _go_on_with_broken_downloads(name: str, target: Path, files: Mapping[str, Any]) -> None:
    """Fetches the rest of large files of which a process that died has left a part, with which the library does not go
    on. It compares their checksums, and fetches those anew that differ."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    downloads = target / ".cache" / "huggingface" / "download"
    for file, about in files.items():
        etag = about.lfs.sha256 if about.lfs is not None else about.blob_id
        parts = sorted(downloads.rglob(f"*.{etag}.*.incomplete"), key=lambda path: path.stat().st_size)
        num_bytes = parts[-1].stat().st_size if parts else 0
        if about.lfs is not None and 0 < num_bytes <= about.size and not (target / file).exists():
            note(f"going on with {file} at {readable_bytes(num_bytes)}")
            url = hf_hub_url(name, file, revision=target.parent.name)
            with parts[-1].open("ab") as part:
                http_get(url, part, resume_size=num_bytes, headers=build_hf_headers(), expected_size=about.size)
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            parts.pop().replace(target / file)
        for path in parts:
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
