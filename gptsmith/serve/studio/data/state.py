"""What a studio knows of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptsmith.serve.studio.data.audits import Audits
from gptsmith.serve.studio.data.collections import Collection, Collections
from gptsmith.serve.studio.data.listing import about, files_called, stamp_of
from gptsmith.serve.studio.data.made import Made, made_by
from gptsmith.serve.studio.data.needed import require_unread, runs_of, sweep_made
from gptsmith.serve.studio.data.pairs import Pairs
from gptsmith.serve.studio.data.parts import ALL, Part, files_of, parts_of
from gptsmith.serve.studio.data.reading import Readings
from gptsmith.serve.studio.data.recipes import Recipes
from gptsmith.serve.studio.data.uploads import Uploads
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place


class Data:
    """The collections of a studio, and what is done with them."""

    def __init__(self, place: Place, database: Database, jobs: Jobs) -> None:
        self._place, self._jobs = place, jobs
        self.collections, self.uploads = Collections(place, database), Uploads(database)
        self.uploads.sweep(self.collections)
        for collection in self.collections:
            sweep_made(place, jobs, collection)
        self.readings, self.recipes = Readings(), Recipes(database)
        self.audits = Audits(database, jobs)
        self.pairs = Pairs(database, jobs, self.collections)

    def parts(self, name: str) -> tuple[Part, ...]:
        """The parts of a collection.

        Raises:
            ApiError: there is none of that name.
        """
        collection = self.collections.get(name)
        return parts_of(collection.sources, stamp_of(collection))

    def arguments(self, name: str, part: str = ALL) -> list[str]:
        """The words of a command line that read a collection as it was mended: paths, and `--without` and `--redact`.
        It reads files, so it is called outside of the loop.

        Raises:
            ApiError: there is none of that name.
            UserError: there is nothing to read in it, or the disk is full.
        """
        return self.made(self.collections.get(name), part).arguments()

    def made(self, collection: Collection, part: str = ALL) -> Made:
        """What is read of a collection, or of a part of it, as it was mended."""
        recipe = self.recipes.recipe(collection)
        parts = () if part == ALL else parts_of(collection.sources, stamp_of(collection))
        chosen = files_of(parts, part) if len(parts) > 1 else None
        if not recipe.changed and chosen is None:
            return Made(str(collection.sources), None, recipe.redacts)
        made = made_by(collection, recipe, self.readings.read(collection), chosen)
        sweep_made(self._place, self._jobs, collection)
        return made

    def listed(self) -> list[dict[str, Any]]:
        """All collections for a list, with the number of documents of those that were read (else None)."""
        return [
            {**about(collection), "num_documents": self.readings.num_documents(collection)}
            for collection in self.collections
        ]

    def delete(self, name: str) -> None:
        """Deletes a collection with all that is made of it, and ends what is being done with it.

        Raises:
            ApiError: there is none of that name.
            UserError: a job needs its files.
        """
        collection = self.collections.get(name)
        ended = require_unread(self._jobs, collection)
        self.readings.cancel(collection)
        self.audits.cancel(collection)
        for job in ended:
            self._jobs.cancel(job)
        self.collections.delete(name)

    def delete_files(self, collection: Collection, paths: Sequence[str]) -> None:
        """Deletes files of a collection that were uploaded.

        Raises:
            UserError: they are a person's own, or a job needs them.
        """
        require_unread(self._jobs, collection)
        self.uploads.delete(collection, files_called(collection, paths))

    def runs_of(self, collection: Collection) -> list[str]:
        """The runs that need the studio's files of a collection to be resumed."""
        return runs_of(self._place, collection.home)

    def close(self) -> None:
        """Ends its use."""
        self.readings.close()
