"""The one table of routes of a studio: its own, before those of every server."""

from __future__ import annotations

from gptsmith.serve.routes import ROUTES
from gptsmith.serve.studio import pages, talk
from gptsmith.serve.studio.data import routes as data
from gptsmith.serve.studio.documents import routes as documents
from gptsmith.serve.studio.improve import routes as improve
from gptsmith.serve.studio.jobs import routes as jobs
from gptsmith.serve.studio.marks import routes as marks
from gptsmith.serve.studio.run_folders import routes as runs
from gptsmith.serve.studio.take_along import routes as take_along
from gptsmith.serve.studio.train import routes as train

STUDIO_ROUTES = (
    *pages.ROUTES,
    *data.ROUTES,
    *documents.ROUTES,
    *jobs.ROUTES,
    *marks.ROUTES,
    *runs.ROUTES,
    *take_along.ROUTES,
    *talk.ROUTES,
    *improve.ROUTES,
    *train.ROUTES,
    *ROUTES,
)
