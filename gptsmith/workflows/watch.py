"""A live page about runs, served on this machine's loopback address."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gptsmith.base.bounded import open_regular, read_bytes
from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.base.runlog import rows_of
from gptsmith.pages.figures import figures
from gptsmith.pages.shell import CHARTS, LOG, Html, element, json_in_html, page, section
from gptsmith.train.report import REPORT, run_folder
from gptsmith.workflows.watched_runs import described_run, listing

LOOPBACK = "127.0.0.1"
SCRIPTS = (*CHARTS, LOG, "watch.js")
COLUMNS = {
    "run": "the run folder's name; ticked runs are drawn below",
    "status": "training, how it ended, or for how long its log has been silent",
    "step": "steps of the optimizer so far, of all",
    "time left": "at the pace of the last steps, until the last step",
    "training loss": "nats per token on the last batch: lower is better",
    "validation loss": "nats per token on text that was held out: lower is better",
    "bits per byte": "the same per byte of text, which compares models with different tokenizers: lower is better",
    "tokens per second": "tokens trained on per second, lately",
}
"""The columns of the table of runs, and what their words mean."""
MEANINGS = {
    **COLUMNS,
    "further columns": "the settings in which these runs differ; run.toml has all",
    "finished": "all steps are done",
    "early_stopped": "ended before, because the validation loss no longer fell",
    "target_reached": "ended before, because the loss that was asked for is reached",
    "stopped": "ended before by a signal such as Ctrl-C: --resume continues it",
    "silent for": "nothing was logged for that long: it may have been killed",
    "gradient norm": "the length of the gradient, before it is clipped: steps far above the others are unstable",
    "learning rate": "by its schedule, as a share of its peak",
}
"""The words of the page."""
REPORT_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'none'; sandbox allow-scripts"
}
"""A report may come with a run that somebody sent: it is a page of its own, which reads nothing from this server."""
MAX_NEWS_BYTES, MAX_OFFSET, MAX_REPORT_BYTES = 64_000_000, 2**62, 20_000_000
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class WatchServer(ThreadingHTTPServer):
    """Serves the page, `runs.json` (which runs there are) and `run.json` (what is new in one run's log)."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where Windows would let two servers have one port

    def __init__(self, runs: Sequence[str | Path], folder: str | Path, port: int) -> None:
        self.given = runs_among(runs)
        self.folder = Path(folder)
        super().__init__((LOOPBACK, port), WatchHandler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports an error, unless it is only that the browser has disconnected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def runs(self) -> dict[str, Path]:
        """The runs by name, or by path if two have one name: those that were given, or else all in the folder now."""
        found = self.given or sorted(path.parent for path in self.folder.glob("*/run.toml"))
        names = [path.resolve().name for path in found]
        return {name if names.count(name) == 1 else str(path): path for name, path in zip(names, found, strict=True)}


def runs_among(given: Sequence[str | Path]) -> list[Path]:
    """The runs among paths; the others, such as a file beside the runs, are said and left out.

    Raises:
        UserError: none is a run.
    """
    found, problems = [], []
    for path in given:
        try:
            found.append(run_folder(path))
        except UserError as error:
            problems.append(error)
    if problems and not found:
        raise problems[0]
    for problem in problems:
        note(f"left out: {problem}", "yellow")
    return found


def watch_server(runs: Sequence[str | Path] = (), *, folder: str | Path = "runs", port: int = 0) -> WatchServer:
    """A server of a live page about `runs`, or about all runs in `folder`, also those to come; `serve_forever` runs it.

    It listens on 127.0.0.1 only and answers nothing but GET with that host name, so that no page from elsewhere can
    read it. `port` 0 takes a free one.

    Raises:
        UserError: there is no such run, or the port is not available.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535, or 0 for a free one")
    try:
        return WatchServer(runs, folder, port)
    except OSError as error:
        raise UserError(f"--port {port} is not available ({error.strerror}): leave it out for a free one") from None


class WatchHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: WatchServer
    server_version, sys_version = "gptsmith", ""

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        if host not in {f"{name}:{self.server.server_port}" for name in (LOOPBACK, "localhost")}:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", f"this server is {self.server.address}")
            return
        url = urlsplit(self.path)
        if url.path == "/":
            self._answer(HTTPStatus.OK, "text/html", watch_page(self.server.folder))
        elif url.path == "/runs.json":
            self._answer(HTTPStatus.OK, "application/json", json_in_html(listing(self.server.runs())))
        elif url.path == "/run.json":
            self._answer_run(parse_qs(url.query))
        elif url.path.startswith("/runs/"):
            self._answer_report(url.path.removeprefix("/runs/"))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is nothing here")

    def _answer_run(self, query: dict[str, list[str]]) -> None:
        folder = self.server.runs().get(query.get("name", [""])[0])
        offset = query.get("offset", ["0"])[0]
        if folder is None or not (offset.isascii() and offset.isdigit()):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is no such run")
            return
        self._answer(HTTPStatus.OK, "application/json", json_in_html(news(folder, int(offset))))

    def _answer_report(self, path: str) -> None:
        """A report stands at runs/NAME/report.html, so that its links to those of runs beside it lead there."""
        name, _, file = path.partition("/")
        folder = self.server.runs().get(unquote(name)) if file == REPORT else None
        if folder is None or not (folder / REPORT).is_file():
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is no such report")
            return
        try:
            text = read_bytes(folder / REPORT, MAX_REPORT_BYTES).decode("utf-8", "replace")
        except UserError as error:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", str(error))
            return
        self._answer(HTTPStatus.OK, "text/html", text, REPORT_HEADERS)

    def _answer(
        self, status: HTTPStatus, kind: str, text: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        body = text.encode("utf-8")
        self.send_response(status)
        more = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": len(body), **headers}
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A request every two seconds is not news."""


def news(folder: Path, offset: int) -> dict[str, Any]:
    """The figures of a run's log from a byte offset on (see `figures`), up to its last whole line; its new offset."""
    try:
        with open_regular(folder / "metrics.jsonl") as file:
            file.seek(min(offset, MAX_OFFSET))
            new = file.read(MAX_NEWS_BYTES)
    except OSError:
        new = b""
    # A line that fills an answer is none of ours: it is passed over.
    whole = new if len(new) == MAX_NEWS_BYTES and b"\n" not in new else new[: new.rfind(b"\n") + 1]
    return {"offset": offset + len(whole), "num_steps": described_run(folder).num_steps, **figures(rows_of(whole))}


def watch_page(folder: Path) -> str:
    """The page, whose scripts ask for the rest."""
    heads = [
        element("th", name, scope="col", title=meaning, class_="number" if name not in ("run", "status") else "")
        for name, meaning in COLUMNS.items()
    ]
    meanings = [part for word, meaning in MEANINGS.items() for part in (element("dt", word), element("dd", meaning))]
    words = element(
        "details", element("summary", "The words of this page"), element("dl", *meanings), class_="meanings"
    )
    left_out = element("p", id="settings-left-out", class_="soft", hidden="")
    head = element("tr", *heads)
    runs = element("table", element("thead", head), Html("<tbody></tbody>"), class_="wide")
    none = element(
        "p", f"No runs in {folder} yet: {shell_command('pretrain', 'TEXT')} makes one.", id="none", class_="notice"
    )
    content = [
        element("header", element("h1", "Runs"), element("p", "connecting", id="state", class_="soft", role="status")),
        element("section", element("div", runs, class_="scroll"), none, left_out, words, id="runs", aria_label="runs"),
        section("Curves", name="curves"),
        section("Plan: predicted and actual", name="plan"),
        section("Samples, as they improve", name="samples"),
        section("Events", name="events"),
    ]
    return page("Runs: gptsmith", content, scripts=SCRIPTS, may_fetch=True)
