"""The request of the verb `studio`."""

from __future__ import annotations

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.settings import Settings
from gptsmith.base.verbs import PathText, PathTexts, not_recorded


class StudioRequest(Settings):
    """The options of `studio`."""

    folder: PathText = "."
    """The folder to work in: its runs/ are those of the terminal."""
    port: int = 8010
    """Port on 127.0.0.1; 0 selects a free one."""
    no_open: bool = False
    """Print the address only, and open no browser."""
    allow: PathTexts = Field(default_factory=list)
    """A folder outside whose files and models may be used, too."""
    device: str = "auto"
    """cpu, cuda or mps; auto uses a GPU if there is one."""
    background: SkipJsonSchema[bool] = not_recorded(False)
    """In Python only: serve in a thread of its own, and return the studio."""
