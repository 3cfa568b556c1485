"""The files of the pages. Which ones there are is known from the start, so that no path leads elsewhere."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

from gptsmith import pages
from gptsmith.pages.shell import CHARTS_STYLE, PALETTE, charts_module
from gptsmith.serve.errors import ApiError

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
CHARTS = "charts.js"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}


class PageFiles:
    """The files of a folder, and of those in it, that a browser may have, with the colours and charts of all pages."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = sorted(path for path in folder.rglob("*") if path.suffix in KINDS and path.is_file())
        self.files = {path.relative_to(folder).as_posix(): path for path in found}
        self.files |= {name: Path(pages.__file__).with_name(name) for name in (PALETTE, CHARTS_STYLE)}
        self.made = {CHARTS: charts_module().encode()}

    def file(self, name: str) -> Response:
        """A file by its path in the folder.

        Raises:
            ApiError: there is none.
        """
        if name not in self.files and name not in self.made:
            raise ApiError(404, "there is no such file", code="not_found")
        content = self.made[name] if name in self.made else self.files[name].read_bytes()
        headers = {"Cache-Control": "no-cache", "Content-Type": KINDS[Path(name).suffix]}
        return Response(content, headers=headers)
