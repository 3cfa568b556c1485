"""What a studio knows of data."""

from __future__ import annotations

from gptsmith.serve.studio.data.collections import Collections
from gptsmith.serve.studio.data.uploads import Uploads
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.place import Place


class Data:
    """The collections of a studio, and what is done with them."""

    def __init__(self, place: Place, database: Database) -> None:
        self.collections, self.uploads = Collections(place, database), Uploads(database)

    def arguments(self, name: str) -> list[str]:
        """The words of a command line that read a collection as it was mended: paths, and `--without` and `--redact`.
        It reads files, so it is called outside of the loop.

        Raises:
            ApiError: there is none of that name.
        """
        return [str(self.collections.get(name).sources)]
