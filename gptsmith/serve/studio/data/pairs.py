"""Questions and answers that a model makes of a collection: a job, whose pairs become a collection of their own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import count
from typing import Any

from gptsmith.base.errors import UserError, shown
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection, Collections
from gptsmith.serve.studio.data.names import collection_name
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs

ENDED = "pairs"
"""The listener that makes a collection of what a job has made."""
FILE = "pairs.jsonl"


class Pairs:
    """The pairs that were made last of each collection."""

    def __init__(self, database: Database, jobs: Jobs, collections: Collections) -> None:
        self._database, self._jobs, self._collections = database, jobs, collections
        jobs.listen(ENDED, self._ended)

    def begin(self, collection: Collection, words: Sequence[str], model: str, limit: int, name: str) -> dict[str, Any]:
        """Queues a job that makes pairs; how it stands.

        Args:
            words: those that read the collection as it was mended.
            model: the path of one that was tuned on conversations.
            limit: the most passages that are asked about.
            name: what the collection of the pairs is called, with a number if there is one already.

        Raises:
            UserError: they are being made already.
        """
        if self.standing(collection)["state"] in ("waiting", "running", "stopping"):
            raise UserError(f"questions about {shown(collection.name)} are being made already")
        name, file = collection_name(name), f"pairs-{secrets.token_hex(6)}.jsonl"
        out = collection.home / file
        arguments = [model, *words, "--limit", str(limit), "--out", str(out), "--json"]
        with self._database.transaction():
            job = self._jobs.add("pairs", arguments, title=name, lane="quick")
            self._database.set(_key(collection), {"job": job, "file": file, "made": None})
            self._jobs.when_done(job, ENDED)
        return self.standing(collection)

    def standing(self, collection: Collection) -> dict[str, Any]:
        """How the making stands: `state` (`none` before it was begun, else that of its job), `job`, `progress` and
        `message`; once it is done, `made` (the name of the collection of pairs), `num_pairs` and `num_passages`."""
        kept = self._database.setting(_key(collection))
        try:
            job = self._jobs.get(kept["job"]) if kept else None
        except ApiError:  # it ended long ago, and is forgotten
            job = None
        if job is None:
            return {"state": "none"}
        told = {"job": job["id"], **{name: job[name] for name in ("state", "progress", "message", "notice")}}
        made = next((one.name for one in self._collections if one.number == kept["made"]), None)
        if job["state"] != "done":
            return told
        if kept["made"] is None:  # just now
            return {**told, "state": "running"}
        if made is None:  # it was deleted
            return {"state": "none"}
        result = job["result"] or {}
        return {**told, "made": made, **{name: result.get(name, 0) for name in ("num_pairs", "num_passages")}}

    def _ended(self, job: dict[str, Any]) -> None:
        """Makes a collection of what a job has made, if it is done and its texts are still there."""
        kept = {collection: self._database.setting(_key(collection)) or {} for collection in self._collections}
        collection = next((one for one, told in kept.items() if told.get("job") == job["id"]), None)
        if collection is None:
            return
        number, out = 0, collection.home / kept[collection]["file"]
        if out.exists():
            made = self._collections.make(self._free(job["title"]))
            out.replace(made.sources / FILE)
            number = made.number
        self._database.set(_key(collection), {**kept[collection], "made": number})

    def _free(self, name: str) -> str:
        """A name that no collection has."""
        taken = {one.name for one in self._collections}
        numbered = (name if number == 1 else f"{name} {number}" for number in count(1))
        return next(each for each in numbered if each not in taken)


def _key(collection: Collection) -> str:
    """The setting that says which job made the last pairs of a collection."""
    return f"pairs_of_{collection.number}"
