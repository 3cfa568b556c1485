"""The request of the verb `serve`: the settings of a server, and the models that it serves."""

from __future__ import annotations

from pydantic import Field

from gptsmith.base.verbs import PathText
from gptsmith.serve.settings import ServeSettings


class ServeRequest(ServeSettings):
    """The options of `serve`."""

    runs: list[str] = Field(default=...)
    """Run folders, or NAME=RUN to serve one under another name."""
    host: str = "127.0.0.1"
    """The address to listen on; others than this machine's own need --api-key-file."""
    port: int = 8000
    """The port; 0 takes a free one."""
    api_key_file: PathText | None = None
    """A file of accepted API keys, one per line, that only you can read."""
    share_prompts: bool = False
    """Show example prompts from the training text to clients on other machines too."""
    draft: PathText | None = None
    """A smaller run with the same tokenizer as draft model for speculative decoding."""
    device: str = "auto"
    """The device: cpu, cuda or mps; auto takes a GPU if there is one."""
