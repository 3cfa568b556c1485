"""Models on the Hugging Face Hub, fetched into the cache."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError
from gptsmith.data.cache import default_cache, private_folder

PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt")


def fetch(name: str, revision: str | None = None) -> Path:
    """The files of a model on the Hub, in the cache: those of one revision, and of no other.

    Raises:
        ConversionError: there is no such folder or model, or no network.
    """
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ConversionError(
            f"{name}: there is no such folder (a model on the Hub is named such as openai-community/gpt2)"
        )
    from huggingface_hub import HfApi, snapshot_download

    note(f"fetching {name} from the Hub")
    try:
        # Requested first, because fetching retries for long without a network.
        revision = str(HfApi().model_info(name, revision=revision, timeout=30).sha)
        target = private_folder(default_cache() / "huggingface_hub" / revision) / name.replace("/", "--")
        snapshot_download(name, revision=revision, local_dir=target, allow_patterns=list(PATTERNS))
    except Exception as error:  # the library's own errors and those of the network below it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConversionError(
            f"{name} is no folder here, and could not be fetched from the Hub ({type(error).__name__}: {reason}): "
            "check the name and the network, or bring the folder here yourself"
        ) from None
    return target
