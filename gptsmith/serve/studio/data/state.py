"""What a studio knows of data."""

from __future__ import annotations

from typing import Any

from gptsmith.serve.studio.data.audits import Audits
from gptsmith.serve.studio.data.collections import Collection, Collections
from gptsmith.serve.studio.data.listing import about
from gptsmith.serve.studio.data.made import Made, made_by
from gptsmith.serve.studio.data.pairs import Pairs
from gptsmith.serve.studio.data.reading import Readings
from gptsmith.serve.studio.data.recipes import Recipes
from gptsmith.serve.studio.data.uploads import Uploads
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place


class Data:
    """The collections of a studio, and what is done with them."""

    def __init__(self, place: Place, database: Database, jobs: Jobs) -> None:
        self.collections, self.uploads = Collections(place, database), Uploads(database)
        self.uploads.sweep(self.collections)
        self.readings, self.recipes = Readings(), Recipes(database)
        self.audits = Audits(database, jobs)
        self.pairs = Pairs(database, jobs, self.collections)

    def arguments(self, name: str) -> list[str]:
        """The words of a command line that read a collection as it was mended: paths, and `--without` and `--redact`.
        It reads files, so it is called outside of the loop.

        Raises:
            ApiError: there is none of that name.
            UserError: there is nothing to read in it, or the disk is full.
        """
        return self.made(self.collections.get(name)).arguments()

    def made(self, collection: Collection) -> Made:
        """What is read of a collection as it was mended."""
        recipe = self.recipes.recipe(collection)
        if not recipe.changed:
            return Made(str(collection.sources), None, recipe.redacts)
        return made_by(collection, recipe, self.readings.read(collection))

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
        """
        collection = self.collections.get(name)
        self.readings.cancel(collection)
        self.audits.cancel(collection)
        self.collections.delete(name)

    def close(self) -> None:
        """Ends its use."""
        self.readings.close()
