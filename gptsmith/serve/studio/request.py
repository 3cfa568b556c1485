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
    port: int | None = None
    """Port on 127.0.0.1; by default 8010, or a free one if it is taken."""
    no_open: bool = False
    """Print the address only, and open no browser."""
    allow: PathTexts = Field(default_factory=list)
    """A folder outside whose files and models may be used, too."""
    device: str = "auto"
    """cpu, cuda or mps; auto uses a GPU if there is one."""
    install_shortcut: bool = False
    """Add the studio to this desktop's menu, for FOLDER or ~/gptsmith."""
    background: SkipJsonSchema[bool] = not_recorded(False)
    """In Python only: serve in a thread of its own, and return the studio."""
