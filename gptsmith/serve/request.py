"""The request of the verb `serve`: the settings of a server, and the models that it serves."""

from __future__ import annotations

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.verbs import PathText, PathTexts, not_recorded
from gptsmith.serve.settings import ServeSettings


class ServeRequest(ServeSettings):
    """The options of `serve`."""

    runs: PathTexts = Field(default=...)
    """Runs, NAME=RUN for another name, or folders of models."""
    documents: PathTexts = Field(default_factory=list)
    """Search this folder for each message. May be repeated."""
    host: str = "127.0.0.1"
    """Address to listen on; if public, --api-key-file is needed."""
    port: int = 8000
    """Port; 0 selects a free one."""
    api_key_file: PathText | None = None
    """File of accepted API keys, one per line, readable only by you."""
    tls_certificate: PathText | None = None
    """PEM file of a certificate and its chain, for HTTPS."""
    tls_key: PathText | None = None
    """PEM file of its private key, without a password."""
    share_prompts: bool = False
    """Show example prompts to clients on other machines too."""
    share_sources: bool = False
    """Show texts that models learnt from to others too."""
    draft: PathText | None = None
    """A smaller run with the same tokenizer, for speculative decoding."""
    device: str = "auto"
    """cpu, cuda or mps; auto uses a GPU if there is one."""
    dtype: str = "auto"
    """float32 or bfloat16; auto keeps weights as they came."""
    background: SkipJsonSchema[bool] = not_recorded(False)
    """In Python only: serve in a thread of its own, and return the server."""
