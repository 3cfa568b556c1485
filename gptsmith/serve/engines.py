"""A served model from a loaded one: its engine, with draft model and recital guard where the server has them."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded
from gptsmith.generate.draft_model import DraftModel, draft_kv_cache_bytes
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.provenance.recital import recital_guard
from gptsmith.retrieval.documents import Documents
from gptsmith.serve.load import LoadedRun
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.settings import ServeSettings


class Engines:
    """Makes the engines of a server, which share one thread: it owns torch while texts are generated."""

    def __init__(self, settings: ServeSettings, draft: Loaded | None, documents: Documents | None) -> None:
        """
        Args:
            draft: proposes tokens to every model that writes text and shares its tokenizer.
            documents: in which the questions to all models are looked up.
        """
        self.settings, self.documents = settings, documents
        self._draft, self._thread = draft, EngineThread()

    def serve(self, run: LoadedRun, kv_cache_bytes: int | None) -> ServedModel:
        """A model with an engine whose KV cache, with its draft model's, is bounded by bytes, if they are given.

        Raises:
            UserError: the recital guard lacks a text that it learnt from.
        """
        draft, tokenizer = self._draft, run.loaded.tokenizer
        own_bytes, proposer = kv_cache_bytes, None
        if draft is not None and run.classifier is None and draft.tokenizer.fingerprint == tokenizer.fingerprint:
            draft_bytes = None
            if kv_cache_bytes is not None:
                draft_bytes = draft_kv_cache_bytes(kv_cache_bytes, run.loaded.model, draft.model)
                own_bytes = kv_cache_bytes - draft_bytes
            proposer = DraftModel(draft.model, kv_cache_bytes=draft_bytes)
        settings = self.settings.engine_settings(own_bytes)
        engine = Engine(
            run.loaded.model, tokenizer, settings=settings, proposer=proposer,
            recital_guard=self._recital_guard(run), thread=self._thread,
        )  # fmt: skip
        run.loaded.model = engine.model  # the server holds no weights but those that it computes with
        return ServedModel(run, engine, self.settings, kv_cache_bytes or 0, self.documents)

    def _recital_guard(self, run: LoadedRun) -> RecitalGuard | None:
        if self.settings.no_recital is None or run.classifier is not None:
            return None
        return recital_guard(run.loaded.run, self.settings.no_recital)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.close()


def require_draft(draft: Loaded, runs: Sequence[LoadedRun], *, there_are_others: bool) -> None:
    """Checks that a draft model can propose to models.

    Raises:
        UserError: it can propose nothing to one of them, or none of them writes and there are no others.
    """
    draft.require_words()
    if runs and not there_are_others and all(run.classifier is not None for run in runs):
        raise UserError(
            f"--draft {draft.run.folder} proposes text, and {', '.join(run.name for run in runs)} writes none, "
            "but labels texts: leave --draft out"
        )
    for run in runs:
        if run.classifier is None and run.loaded.tokenizer.fingerprint != draft.tokenizer.fingerprint:
            raise UserError(f"--draft {draft.run.folder} has another tokenizer than {run.name}: they must share one")
