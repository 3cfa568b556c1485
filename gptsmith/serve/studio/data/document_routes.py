"""The addresses of what was read of a collection, and of what is mended in it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.base.errors import UserError, shown
from gptsmith.serve.route import Route
from gptsmith.serve.studio.data import audits, documents, schemas
from gptsmith.serve.studio.data.asked import API, collection_asked, collection_named
from gptsmith.serve.studio.data.examples import examples
from gptsmith.serve.studio.data.made import checked_edit
from gptsmith.serve.studio.data.recipes import Recipe
from gptsmith.serve.studio.queries import number_asked, page_of
from gptsmith.serve.studio.state import StudioState

NUM_EXAMPLES = 20
LogFields = dict[str, object]


async def reading(state: StudioState, request: Request) -> Response:
    """Where the reading of a collection is; what was read, when it is over. It begins if there is none."""
    collection, data = await collection_asked(state, request), state.studio.data

    def told() -> dict[str, Any]:
        now = data.readings.of(collection, is_wanted=request.query_params.get("again") == "yes")
        if now.state == "read":
            return {"state": "read", **documents.summary(collection, now, data.recipes.recipe(collection))}
        return {"state": now.state, "words": now.words, "fraction": now.fraction, "problem": now.problem}

    return JSONResponse(await asyncio.to_thread(told))


async def cancel_reading(state: StudioState, body: schemas.Named, _: LogFields) -> Response:
    """Ends the reading of a collection."""
    data = state.studio.data
    data.readings.cancel(await collection_named(state, body.name))
    return JSONResponse({})


async def list_documents(state: StudioState, request: Request) -> Response:
    """A part of the documents of a collection."""
    collection, data = await collection_asked(state, request), state.studio.data

    def listed() -> dict[str, Any]:
        now, recipe = data.readings.of(collection, is_wanted=False), data.recipes.recipe(collection)
        documents.corpus_of(now)
        numbers = documents.chosen_numbers(now, recipe, request.query_params.get("which", "all"))
        page = page_of(numbers, request)
        return {**page, "items": documents.rows(collection, now, recipe, page["items"].tolist())}

    return JSONResponse(await asyncio.to_thread(listed))


async def get_document(state: StudioState, request: Request) -> Response:
    """A window of a document, beside its source."""
    collection, data = await collection_asked(state, request), state.studio.data
    name, start = request.query_params.get("document", ""), number_asked(request, "start", 0)

    def found() -> dict[str, Any]:
        now, recipe = data.readings.of(collection, is_wanted=False), data.recipes.recipe(collection)
        return documents.shown(collection, now, recipe, name, start)

    return JSONResponse(await asyncio.to_thread(found))


async def get_editable(state: StudioState, request: Request) -> Response:
    """What can be edited of a document: its text, or its record as JSON."""
    collection, data = await collection_asked(state, request), state.studio.data
    name = request.query_params.get("document", "")

    def found() -> dict[str, Any]:
        now, recipe = data.readings.of(collection, is_wanted=False), data.recipes.recipe(collection)
        edit = documents.editable(now, recipe, name)
        record = documents.record_as_text(edit)
        return {"text": edit.text if record is None else record, "is_record": record is not None}

    return JSONResponse(await asyncio.to_thread(found))


async def edit_document(state: StudioState, body: schemas.EditDocument, _: LogFields) -> Response:
    """Puts another text, or record, in the place of a document."""
    data = state.studio.data
    collection = await collection_named(state, body.name)

    def keep() -> int:
        now, recipe = data.readings.of(collection, is_wanted=False), data.recipes.recipe(collection)
        before = documents.editable(now, recipe, body.document)
        given = documents.edited(before, body.text)
        edit = checked_edit(collection, now.candidate_of(body.document), body.document, given)
        file = documents.rows(collection, now, recipe, [documents.number_of(now, body.document)])[0]["file"]
        value = {"document": body.document, "file": file, "text": edit.text, "record": edit.record}
        return data.recipes.add(collection, "edit", value)

    return JSONResponse({"number": await asyncio.to_thread(keep)})


async def list_examples(state: StudioState, request: Request) -> Response:
    """Some examples of a collection as a model will see them."""
    collection, data = await collection_asked(state, request), state.studio.data
    offset = number_asked(request, "offset", 0)

    def found() -> list[dict[str, Any]]:
        return examples(data.made(collection), offset, NUM_EXAMPLES)

    return JSONResponse({"items": await state.studio.when_read(found)})


async def exclude(state: StudioState, body: schemas.Exclude, _: LogFields) -> Response:
    """Leaves a document out."""
    data = state.studio.data
    collection = await collection_named(state, body.name)

    def keep() -> int:
        now = data.readings.of(collection, is_wanted=False)
        (row,) = documents.rows(collection, now, Recipe(), [documents.number_of(now, body.document)])
        return data.recipes.add(collection, "exclude", {"documents": [body.document], "file": row["file"]})

    return JSONResponse({"number": await asyncio.to_thread(keep)})


async def exclude_kind(state: StudioState, body: schemas.ExcludeKind, _: LogFields) -> Response:
    """Leaves out all documents with findings of a kind."""
    data = state.studio.data
    collection = await collection_named(state, body.name)

    def keep() -> int:
        recipe = data.recipes.recipe(collection)
        named = audits.documents_of(data.audits.found(collection), body.kind, recipe)
        return data.recipes.add(collection, "exclude", {"documents": named, "finding": body.kind})

    return JSONResponse({"number": await asyncio.to_thread(keep)})


async def redact(state: StudioState, body: schemas.Redact, _: LogFields) -> Response:
    """Replaces findings by placeholders, or no longer."""
    data = state.studio.data
    collection = await collection_named(state, body.name)
    number = await asyncio.to_thread(data.recipes.add, collection, "redact", {"is_on": body.is_on})
    return JSONResponse({"number": number})


async def undo(state: StudioState, body: schemas.Undo, _: LogFields) -> Response:
    """Takes a change back."""
    data = state.studio.data
    await asyncio.to_thread(data.recipes.undo, await collection_named(state, body.name), body.number)
    return JSONResponse({})


async def list_changes(state: StudioState, request: Request) -> Response:
    """The changes to a collection, the newest first, without texts."""
    collection, data = await collection_asked(state, request), state.studio.data
    changes = await asyncio.to_thread(data.recipes.changes, collection)
    shown = [
        {
            **{name: change[name] for name in ("number", "kind", "created")},
            **{name: change["value"].get(name) for name in ("file", "finding", "is_on", "document")},
            "num_documents": len(change["value"].get("documents", ())),
        }
        for change in reversed(changes)
    ]
    redacts = next((change["is_on"] for change in shown if change["kind"] == "redact"), False)
    return JSONResponse({**page_of(shown, request), "redacts": redacts})


async def begin_audit(state: StudioState, body: schemas.Named, _: LogFields) -> Response:
    """Looks for personal data, secrets and near duplicates, in a job."""
    data = state.studio.data
    collection = await collection_named(state, body.name)
    job = await asyncio.to_thread(lambda: data.audits.begin(collection, data.readings.of(collection)))
    return JSONResponse({"job": job})


async def list_findings(state: StudioState, request: Request) -> Response:
    """How the audit of a collection stands, the kinds of its findings, and some of those of a kind."""
    collection, data = await collection_asked(state, request), state.studio.data
    kind = request.query_params.get("kind", "")

    def listed() -> dict[str, Any]:
        recipe = data.recipes.recipe(collection)
        standing = data.audits.standing(collection, data.readings.of(collection, is_wanted=False))
        found = data.audits.found(collection) if standing["state"] == "done" else []
        rows = audits.rows(collection, found, kind, recipe)
        return {**standing, "kinds": audits.kinds(found, recipe), **page_of(rows, request)}

    return JSONResponse(await asyncio.to_thread(listed))


async def get_finding(state: StudioState, request: Request) -> Response:
    """What was found, in its place."""
    collection, data = await collection_asked(state, request), state.studio.data
    number = number_asked(request, "number")

    def found() -> dict[str, str]:
        every = data.audits.found(collection)
        now = data.readings.of(collection, is_wanted=False)
        document = every[number]["sha256"] if number < len(every) else ""
        text = documents.read_text(now, Recipe(), document) if document in now.number_of else ""
        return audits.in_its_place(every, number, text)

    return JSONResponse(await asyncio.to_thread(found))


async def make_pairs(state: StudioState, body: schemas.MakePairs, _: LogFields) -> Response:
    """Makes questions and answers of a collection, in a job.

    Raises:
        UserError: the model cannot be used, or they are being made already.
    """
    studio = state.studio
    collection = await collection_named(state, body.name)

    def begun() -> dict[str, Any]:
        model = studio.training.models.get(body.model)
        if model.kind != "chat":
            raise UserError(f"{shown(model.name)} was not tuned on conversations: choose another model")
        words = studio.data.arguments(collection.name)
        return studio.data.pairs.begin(collection, words, model.id, body.limit, body.made)

    return JSONResponse(await studio.when_read(begun))


async def get_pairs(state: StudioState, request: Request) -> Response:
    """How the making of questions and answers stands."""
    collection = await collection_asked(state, request)
    return JSONResponse(await asyncio.to_thread(state.studio.data.pairs.standing, collection))


ROUTES = (
    Route(f"{API}/reading", "GET", reading),
    Route(f"{API}/reading/cancel", "POST", cancel_reading, request_schema=schemas.Named),
    Route(f"{API}/documents", "GET", list_documents),
    Route(f"{API}/document", "GET", get_document),
    Route(f"{API}/editable", "GET", get_editable),
    Route(f"{API}/edit", "POST", edit_document, request_schema=schemas.EditDocument),
    Route(f"{API}/examples", "GET", list_examples),
    Route(f"{API}/exclude", "POST", exclude, request_schema=schemas.Exclude),
    Route(f"{API}/exclude-kind", "POST", exclude_kind, request_schema=schemas.ExcludeKind),
    Route(f"{API}/redact", "POST", redact, request_schema=schemas.Redact),
    Route(f"{API}/undo", "POST", undo, request_schema=schemas.Undo),
    Route(f"{API}/changes", "GET", list_changes),
    Route(f"{API}/audit", "POST", begin_audit, request_schema=schemas.Named),
    Route(f"{API}/findings", "GET", list_findings),
    Route(f"{API}/finding", "GET", get_finding),
    Route(f"{API}/pairs", "GET", get_pairs),
    Route(f"{API}/pairs", "POST", make_pairs, request_schema=schemas.MakePairs),
)
