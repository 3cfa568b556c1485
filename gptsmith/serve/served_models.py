"""The models of a server: loaded at its start, or on first use from folders of models, and unloaded when nobody uses
them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from gptsmith.base.console import note
from gptsmith.base.files import readable_bytes
from gptsmith.convert.load import Loaded
from gptsmith.generate.forward import SMALL_BYTES, compile_ahead
from gptsmith.model.device import choose_device
from gptsmith.retrieval.documents import Documents
from gptsmith.serve.engines import Engines, require_draft
from gptsmith.serve.errors import ApiError, overloaded
from gptsmith.serve.load import LoadedRun, ModelDescription
from gptsmith.serve.log import LOGGER
from gptsmith.serve.model_entry import ModelEntry
from gptsmith.serve.model_folders import ModelFolders, reason_of
from gptsmith.serve.model_memory import ModelMemory, equal_shares, give_back_memory
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.workers import Workers
from gptsmith.train.classifier import Classifier

TOO_MANY_REQUESTS = 429


class ServedModels:
    """All models of a server by name.

    Which models are loaded changes on the thread of the loop alone. A handler that was given a model reserves a place
    with it before it waits for anything else, so that it is not unloaded meanwhile.

    Attributes:
        entries: every model that can be asked for.
        workers: the threads on which prompts are read, models loaded and answers explained.
    """

    def __init__(
        self,
        runs: Sequence[LoadedRun],
        settings: ServeSettings,
        draft: Loaded | None = None,
        folders: ModelFolders | None = None,
        documents: Documents | None = None,
    ) -> None:
        """
        Args:
            runs: the models that stay loaded.
            draft: proposes tokens to every model that writes text and shares its tokenizer.
            folders: where further models are.
            documents: in which the questions to all models are looked up.

        Raises:
            UserError: the draft model's tokenizer is not that of `runs`, or it or they write no text; `runs` and
                folders have models of one name; or the recital guard lacks a text that one of `runs` learnt from.
        """
        self.settings, self.documents, self._folders = settings, documents, folders
        if draft is not None:
            require_draft(draft, runs, there_are_others=folders is not None)
        self.workers, self._engines = Workers(), Engines(settings, draft, documents)
        self._refreshing, self._loads = asyncio.Lock(), asyncio.Lock()
        self._retiring: set[ServedModel] = set()
        self._is_unseen = folders is not None and folders.in_background
        shares = equal_shares(runs, settings, num_others=folders is not None)
        self.entries = {
            run.name: ModelEntry(run.about, self._engines.serve(run, shares[run.name]), is_pinned=True, num_loads=1)
            for run in runs
        }
        for name, served in self.loaded.items():
            if served.engine.kv_memory.is_shorter:
                note(f"{name}: {served.engine.kv_memory.limit}: that is its context here (--kv-cache-memory)")
        if folders is not None:
            self._memory = ModelMemory(choose_device(folders.device), folders.dtype, settings)
            if not folders.in_background:
                self._take_in(folders)
                if self._has_large:
                    compile_ahead(settings.engine)

    # Which models there are

    @property
    def loaded(self) -> dict[str, ServedModel]:
        """The models that are loaded, by name."""
        return {name: entry.served for name, entry in self.entries.items() if entry.served is not None}

    @property
    def are_full(self) -> bool:
        """Whether every model that is loaded has as many sequences as it may."""
        loaded = self.loaded.values()
        return bool(loaded) and all(served.num_reserved >= self.settings.max_sequences for served in loaded)

    async def refresh(self) -> None:
        """Looks at what the folders hold now. A loaded model whose files have changed, or are gone, still ends what it
        has begun."""
        if self._folders is None:
            return
        async with self._refreshing:
            await self.workers.run_on_reader(self._folders.scan)
            self._take_in(self._folders)
            if self._is_unseen and self._has_large:
                self.workers.load_later(partial(compile_ahead, self.settings.engine))
            self._is_unseen = False

    async def look_once(self) -> None:
        """Looks at what the folders hold, unless somebody has before."""
        if self._is_unseen:
            await self.refresh()

    @property
    def _has_large(self) -> bool:
        """Whether one of the models gains by compiled code."""
        return any(self._memory.weight_bytes(entry.about) >= SMALL_BYTES for entry in self.entries.values())

    def _take_in(self, folders: ModelFolders) -> None:
        found = folders.found
        for name in [name for name, entry in self.entries.items() if not entry.is_pinned and name not in found]:
            self._retire(self.entries.pop(name))
        for name, about in found.items():
            entry = self.entries.setdefault(name, ModelEntry(about))
            if entry.is_pinned:  # it was named, and so comes first
                continue
            if entry.about.stamps != about.stamps:
                self._retire(entry)
                entry.failure = ""
            entry.about = about

    async def entry(self, name: str | None) -> ModelEntry:
        """The model of a name, loaded or not; without a name, the only one.

        Raises:
            ApiError: there is none of that name, or there are several to choose from.
        """
        if name is None:
            await self.look_once()
            if len(self.entries) != 1:
                raise ApiError(
                    400,
                    f"model: name one of {', '.join(self.entries)}",
                    param="model",
                    code="missing_required_parameter",
                )
            return next(iter(self.entries.values()))
        if name not in self.entries:
            await self.refresh()
        if name not in self.entries:
            raise self._not_found(name)
        return self.entries[name]

    def _not_found(self, name: str) -> ApiError:
        problem = None if self._folders is None else self._folders.problems.get(name)
        others = f"there is no model of that name here; there are {', '.join(self.entries)}"
        message = others if problem is None else f"{name} cannot be served: {problem}"
        return ApiError(404, message, param="model", code="model_not_found")

    async def get(self, name: str | None, keep_s: float | None = None) -> ServedModel:
        """The model of a name, loaded; without a name, the only one. `keep_s` is how long it stays after its last
        request, if that is not to be the server's default.

        Raises:
            ApiError: there is none, there are several to choose from, or it cannot be loaded.
        """
        return await self._load_once(await self.entry(name), keep_s)

    async def writer(self, name: str | None, keep_s: float | None = None) -> ServedModel:
        """The model of a name, which writes text.

        Raises:
            ApiError: as `get` does, or it is a classifier.
        """
        entry = await self.entry(name)
        if entry.about.kind == "classifier":
            raise ApiError(
                400,
                f"{entry.name} is a classifier, which labels texts and writes none: use /v1/classify",
                param="model",
                code="not_a_generative_model",
            )
        return await self._load_once(entry, keep_s)

    async def classifier(self, name: str | None) -> tuple[ServedModel, Classifier]:
        """The model of a name, which labels texts.

        Raises:
            ApiError: as `get` does, or it is no classifier.
        """
        entry = await self.entry(name)
        if entry.about.kind != "classifier":
            endpoint = "/v1/chat/completions" if entry.about.kind == "chat" else "/v1/completions"
            raise ApiError(
                400,
                f"{entry.name} writes text and was not tuned on labels: use {endpoint}",
                param="model",
                code="not_a_classifier",
            )
        served = await self._load_once(entry, None)
        assert served.run.classifier is not None
        return served, served.run.classifier

    # Loading and unloading

    async def _load_once(self, entry: ModelEntry, keep_s: float | None) -> ServedModel:
        """A model, loaded by the first request that needs it, for all that wait.

        Raises:
            ApiError: it cannot be loaded.
        """
        entry.num_waiting += 1
        try:
            while entry.served is None:
                if entry.loading is None:
                    entry.loading = asyncio.create_task(self._load(entry))
                # It goes on where this client leaves: others may wait for it.
                if (error := await asyncio.shield(entry.loading)) is not None:
                    raise error
        finally:
            entry.num_waiting -= 1
        entry.keep_s = self.settings.keep_loaded_s if keep_s is None else keep_s
        entry.used(self._unload_if_idle)
        return entry.served

    async def _load(self, entry: ModelEntry) -> ApiError | None:
        """Loads a model after those that are being loaded, unless nobody waits for it any more; gives the error if it
        cannot be."""
        try:
            async with self._loads:
                if not entry.num_waiting:
                    return None
                entry.failure = ""
                started, about = time.monotonic(), entry.about
                await self._make_room(entry)
                work = partial(self._loaded_from_folder, about, self._promised_bytes())
                served = await self.workers.run_on_loader(work)
                if self.entries.get(entry.name) is not entry:  # it has gone meanwhile
                    served.engine.close()
                    return self._not_found(entry.name)
                if entry.about.stamps not in (about.stamps, served.run.about.stamps):  # they have changed meanwhile
                    served.engine.close()
                    return None
                entry.about = served.run.about
                entry.served, served.on_idle = served, partial(entry.used, self._unload_if_idle)
                entry.num_loads, entry.load_s = entry.num_loads + 1, time.monotonic() - started
                entry.used(self._unload_if_idle)
                LOGGER.info("loaded %s in %.1f s", entry.name, entry.load_s)
                return None
        except Exception as error:
            if self.entries.get(entry.name) is not entry:
                return self._not_found(entry.name)
            if isinstance(error, ApiError) and error.status == TOO_MANY_REQUESTS:
                return error
            entry.num_failures += 1
            if isinstance(error, ApiError):
                entry.failure = error.message
                return error
            entry.failure = reason_of(error, entry.about.path, entry.name)
            LOGGER.error("%s could not be loaded", entry.name)
            return ApiError(500, f"{entry.name} could not be loaded: {entry.failure}", code="model_load_failed")
        finally:
            entry.loading = None

    def _loaded_from_folder(self, about: ModelDescription, promised_bytes: int) -> ServedModel:
        """A model with its engine. `promised_bytes` are the bounds of the KV caches that there are."""
        assert self._folders is not None, "a model without a folder stays loaded"
        run = self._folders.load(about)
        is_writer = run.classifier is None
        share = self._memory.share(run.loaded.config, promised_bytes) if is_writer else None
        served = self._engines.serve(run, share)
        if served.engine.kv_memory.is_shorter:
            LOGGER.warning("%s: %s: that is its context here", about.name, served.engine.kv_memory.limit)
        return served

    def _promised_bytes(self) -> int:
        """The bounds of the KV caches that there are."""
        there = [*self.loaded.values(), *self._retiring]
        return sum(served.kv_cache_bytes for served in there)

    async def _make_room(self, entry: ModelEntry) -> None:
        """Unloads models that nobody uses, the least recently used first, until there is memory for another one.

        Raises:
            ApiError: there is not.
        """
        about = entry.about
        while self._memory.is_short(about, self._promised_bytes()):
            idle = [other for other in self.entries.values() if other.served and not (other.is_pinned or other.is_busy)]
            if not idle:
                break
            self._retire(min(idle, key=lambda other: other.last_used))
            await self.workers.run_on_loader(give_back_memory)
        needed, free = self._memory.weight_bytes(about), self._memory.free_bytes()
        if free is None or needed <= free:
            return
        message = f"{about.name} takes {readable_bytes(needed)} of memory, and {readable_bytes(free)} are free"
        busy = [other.name for other in self.entries.values() if other.served and not other.is_pinned]
        if busy or self._retiring:
            raise overloaded(f"{message} while {', '.join(busy) or 'an older one'} is in use: try again")
        raise ApiError(400, message, param="model", code="insufficient_memory")

    def unload(self, entry: ModelEntry) -> None:
        """Unloads a model once it has ended what it has begun, unless it stays as long as the server."""
        if not entry.is_pinned:
            self._retire(entry)

    def _unload_if_idle(self, entry: ModelEntry) -> None:
        """Unloads a model, unless it is used; then it is called again."""
        if not entry.is_busy:
            self._retire(entry)

    def _retire(self, entry: ModelEntry) -> None:
        """Gives no further request to a loaded model, and closes it once it has ended what it has begun."""
        served, entry.served = entry.served, None
        entry.stop_timer()
        if served is None:
            return
        LOGGER.info("unloaded %s", entry.name)
        if served.num_reserved:
            self._retiring.add(served)
            served.on_idle = partial(self._close, served)
        else:
            self._close(served)

    def _close(self, served: ServedModel) -> None:
        self._retiring.discard(served)
        served.on_idle = lambda: None
        served.engine.close()
        self.workers.load_later(give_back_memory)

    @property
    def is_writing(self) -> bool:
        """Whether any model generates a text."""
        there = [entry.served for entry in [*self.entries.values()]]  # which may change meanwhile, on another thread
        return any(served.engine.figures().running for served in [*there, *self._retiring] if served is not None)

    def cancel_all(self) -> None:
        """Ends every text."""
        for served in [*self.loaded.values(), *self._retiring]:
            served.engine.close()

    def close(self) -> None:
        """Ends every text and all threads; see `Workers.has_ended` for those that do not let themselves be ended."""
        self.cancel_all()
        self._engines.close()
        self.workers.close()
