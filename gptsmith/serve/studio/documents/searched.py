"""Collections in which questions are looked up: each is read in the background when it is first chosen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from shutil import rmtree
from typing import Any

from gptsmith.base.errors import UserError, shown
from gptsmith.retrieval.documents import NUM_SOURCES, Documents, Source, index_folder
from gptsmith.retrieval.mending import Mending
from gptsmith.serve.errors import ApiError
from gptsmith.serve.log import log_failure
from gptsmith.serve.studio.data.collections import Collection, Collections
from gptsmith.serve.studio.data.recipes import Recipes


class OpeningCancelledError(Exception):
    """A person does not wait for it."""


class Opening:
    """A collection that is read, and its documents once it was.

    Attributes:
        fraction: how far it is, by files.
        problem: why it failed, for a person; None if it did not.
        documents: None if it is not read yet, failed or was cancelled.
        is_over: done when it was read, well or not.
    """

    def __init__(self, collection: Collection, mending: Mending) -> None:
        self._sources, self.mending = collection.sources, mending
        self._is_cancelled = threading.Event()
        self.fraction = 0.0
        self.problem: str | None = None
        self.documents: Documents | None = None
        self.is_over = Future[None]()

    @property
    def state(self) -> str:
        """`reading`, `ready` or `failed`."""
        if not self.is_over.done():
            return "reading"
        return "failed" if self.documents is None else "ready"

    def run(self) -> None:
        """Reads what is not in the index yet."""
        try:
            self._observe(0, 1)
            self.documents = Documents([self._sources], self._observe, self.mending)
        except OpeningCancelledError:
            self.problem = "the reading was cancelled"
        except UserError as error:
            self.problem = str(error).removeprefix(f"{self._sources}: ")
        except Exception as error:
            log_failure(error)
            self.problem = f"these files cannot be read ({type(error).__name__})"
        finally:
            self.is_over.set_result(None)

    def _observe(self, done: int, num_files: int) -> None:
        if self._is_cancelled.is_set():
            raise OpeningCancelledError
        self.fraction = done / max(num_files, 1)

    def cancel(self) -> None:
        """Ends the reading; what was read so far is kept for the next time."""
        self._is_cancelled.set()


@dataclass(frozen=True)
class SearchedCollection:
    """A collection that was read."""

    collection: Collection
    documents: Documents

    def search(self, question: str, count: int) -> list[Source]:
        """The passages that answer a question best."""
        return [self._named(source) for source in self.documents.search(question, count)]

    def passage(self, id_: str) -> list[Source]:
        """A passage and its neighbours; none if it is gone."""
        return [self._named(source) for source in self.documents.passage(id_)]

    def _named(self, source: Source) -> Source:
        """A passage whose id and whose file say which collection it is of."""
        id_ = f"{self.collection.number}.{source.id}"
        return replace(source, id=id_, file=f"{self.collection.name}/{source.file}")


@dataclass(frozen=True)
class SearchedTogether:
    """Collections that are searched as one."""

    each: Sequence[SearchedCollection]

    def search(self, question: str, count: int = NUM_SOURCES) -> list[Source]:
        """The passages that answer a question best: those with the most of its words, whichever collection they are of,
        since scores of BM25 are comparable within one index only."""
        ranked = [(rank, source) for one in self.each for rank, source in enumerate(one.search(question, count))]
        if len(self.each) > 1:
            ranked.sort(key=lambda found: (-len(found[1].terms), found[0]))
        by_text: dict[str, Source] = {}
        for _, source in ranked:
            by_text.setdefault(source.text, source)
        return list(by_text.values())[:count]


class Searched:
    """The collections of a studio that were chosen to be searched, since it was started."""

    def __init__(self, collections: Collections, recipes: Recipes) -> None:
        self._collections, self._recipes = collections, recipes
        self._lock = threading.Lock()
        self._openings: dict[int, Opening] = {}
        self._thread = ThreadPoolExecutor(1, "documents")

    def listed(self) -> list[dict[str, Any]]:
        """All collections: `name`, `state` (`closed` before it is chosen), `fraction` and `problem`."""
        found = []
        for collection in self._collections:
            opening = self._openings.get(collection.number)
            told: dict[str, Any] = {"state": "closed", "fraction": 0.0, "problem": None}
            if opening is not None:
                told = {"state": opening.state, "fraction": opening.fraction, "problem": opening.problem}
            found.append({"name": collection.name, **told})
        return found

    def open(self, collection: Collection) -> Opening:
        """A collection that is read as it is mended now, or was; where that failed, it is tried again."""
        mending = self._recipes.recipe(collection).mending()
        with self._lock:
            opening = self._openings.get(collection.number)
            is_old = opening is not None and opening.mending.key != mending.key
            if opening is None or opening.state == "failed" or is_old:
                if opening is not None and is_old:
                    opening.cancel()
                    self._delete_index(collection, opening.mending)
                self._openings[collection.number] = opening = Opening(collection, mending)
                self._thread.submit(opening.run)
        return opening

    async def read(self, collection: Collection) -> SearchedCollection:
        """A collection, as soon as it is read.

        Raises:
            ApiError: it cannot be, or somebody cancelled it.
        """
        opening = await asyncio.to_thread(self.open, collection)
        await asyncio.shield(asyncio.wrap_future(opening.is_over))
        if opening.documents is None:
            raise ApiError(400, f"{shown(collection.name)}: {opening.problem}")
        return SearchedCollection(collection, opening.documents)

    async def together(self, collections: Sequence[Collection]) -> SearchedTogether:
        """Some collections, as soon as all are read.

        Raises:
            ApiError: one cannot be read, or somebody cancelled it.
        """
        return SearchedTogether([await self.read(collection) for collection in collections])

    async def passage(self, id_: str) -> list[Source]:
        """A passage that was shown as a source, and its neighbours; none if it is gone.

        Raises:
            ApiError: its collection cannot be read.
        """
        number, _, inside = id_.partition(".")
        collections = await asyncio.to_thread(list, self._collections)
        collection = next((one for one in collections if str(one.number) == number), None)
        if collection is None:
            return []
        searched = await self.read(collection)
        return await asyncio.to_thread(searched.passage, inside)

    def cancel(self, collection: Collection) -> None:
        """Ends the reading of a collection, or its use."""
        with self._lock:
            opening = self._openings.pop(collection.number, None)
        if opening is not None:
            opening.cancel()

    def forget(self, collection: Collection) -> None:
        """Deletes the index of a collection that was uploaded; that of a folder elsewhere may be in use by others."""
        opening = self._openings.get(collection.number)
        self.cancel(collection)
        if collection.named is None:
            self._delete_index(collection, Mending())
        if opening is not None:
            self._delete_index(collection, opening.mending)

    def _delete_index(self, collection: Collection, mending: Mending) -> None:
        """Deletes an index, unless it may be one that others use."""
        if collection.named is None or mending.key:
            rmtree(index_folder([collection.sources], mending), ignore_errors=True)

    def close(self) -> None:
        """Ends all."""
        with self._lock:
            for opening in self._openings.values():
                opening.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)
        for opening in self._openings.values():
            if not opening.is_over.done():  # it never began, and somebody may wait for it
                opening.is_over.set_result(None)
