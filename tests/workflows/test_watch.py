"""The live page: only for this machine, only what is new, and growing while it is open."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.train.report import report
from gptsmith.workflows.watch import WatchServer, news, runs_among, watch_server

from ..pages.browser import Visit, open_browser
from .test_report import NASTY, write_run


@pytest.fixture
def serve() -> Iterator[Callable[..., WatchServer]]:
    """Starts servers that end with the test."""
    servers: list[tuple[WatchServer, threading.Thread]] = []

    def start(*runs: Path, **more: Any) -> WatchServer:
        server = watch_server(runs, **more)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server: WatchServer, path: str, *, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    return answer.status, text


def append(run: Path, **row: Any) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")


def test_only_this_machine_is_answered_and_only_by_its_name(serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    server = serve(write_run(tmp_path / "run"))
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/")[0] == 200
    assert ask(server, "/runs.json", host=f"localhost:{server.server_port}")[0] == 200
    for host in (
        f"evil.example:{server.server_port}",
        "127.0.0.1:1",
        "127.0.0.1",
        f"127.0.0.1.evil:{server.server_port}",
    ):
        status, text = ask(server, "/runs.json", host=host)
        assert status == 403
        assert "run.toml" not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_nothing_but_get_is_answered(serve: Callable[..., WatchServer], tmp_path: Path, method: str) -> None:
    assert ask(serve(write_run(tmp_path / "run")), "/runs.json", method=method)[0] == 501


def test_no_file_but_those_of_the_runs_is_read(serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    write_run(tmp_path / "other")
    server = serve(write_run(tmp_path / "run"))
    for path in ("/run.toml", "/../run/run.toml", "/run.json", "/run.json?name=other", "/run.json?name=../other",
                 "/run.json?name=run&offset=-1", "/run.json?name=run&offset=x"):  # fmt: skip
        assert ask(server, path)[0] == 404, path


def test_only_what_is_new_is_sent(serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    server = serve(run)
    first = json.loads(ask(server, "/run.json?name=run&offset=0")[1])
    assert first["offset"] == (run / "metrics.jsonl").stat().st_size
    assert first["num_steps"] == 400
    assert len(first["curves"]["train_loss"][0]) == 40
    append(run, event="step", step=410, train_loss=0.5)
    again = json.loads(ask(server, f"/run.json?name=run&offset={first['offset']}")[1])
    assert again["curves"] == {"train_loss": [[410], [0.5]]}
    assert again["samples"] == again["events"] == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    size = (run / "metrics.jsonl").stat().st_size
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"event": "step", "step": 410,')
    assert news(run, size)["offset"] == size
    with (run / "metrics.jsonl").open("a") as log:
        log.write(' "train_loss": 0.5}\nnot json\n')
    assert news(run, size)["curves"] == {"train_loss": [[410], [0.5]]}


def test_a_run_whose_log_is_not_there_yet_has_no_news(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    (run / "run.toml").write_text("not toml")
    assert news(run, 0)["offset"] == 0


def test_runs_of_one_name_have_their_paths(tmp_path: Path) -> None:
    one, other, third = (write_run(tmp_path / name) for name in ("a/run", "b/run", "third"))
    with watch_server([one, other, third]) as server:
        assert list(server.runs()) == [str(one), str(other), "third"]


def test_runs_that_come_later_are_found(tmp_path: Path) -> None:
    with watch_server(folder=tmp_path / "runs") as server:
        assert server.runs() == {}
        run = write_run(tmp_path / "runs" / "new")
        assert server.runs() == {"new": run}


def test_what_a_person_gets_wrong_is_one_line(call: Callable, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="is not available"):
            watch_server(port=taken.getsockname()[1])
    for arguments, words in (
        (["missing"], "no such run"),
        ([tmp_path], "holds no run.toml"),
        (["--port", 70000], "65535"),
    ):
        outcome = call("watch", *arguments)
        assert outcome.code == 2
        assert outcome.out == ""
        (line,) = outcome.err.splitlines()
        assert words in line


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C otherwise")
def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gptsmith", "watch", str(write_run(tmp_path / "run"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "http://127.0.0.1:" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "press again to stop at once" in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def test_the_page_grows_while_it_is_open(browser: Any, serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", plan=False, ended=False)
    server = serve(one, other)
    visit = Visit(browser, server.address)
    visit.page.wait_for_selector("path.line")
    assert {visit.series(title) for title in ("Training loss", "Validation loss", "Gradient norm")} == {2}
    assert visit.chart("Training loss").locator(".legend").inner_text().split() == ["one", "other"]
    assert all(name in visit.hover("Training loss") for name in ("one", "other"))
    table = visit.page.locator("#runs")
    assert "400 of 400" in table.inner_text()
    assert "finished" in table.get_by_role("row", name="one").inner_text()
    append(other, event="step", step=410, train_loss=0.1234, seconds=41.0)
    append(other, event="sample", step=410, text=f"newest {NASTY}")
    append(other, event="roll_back", step=410, problem="the loss is nan")
    visit.page.get_by_text("0.1234").wait_for(timeout=10_000)
    assert "410 of 400" in table.get_by_role("row", name="other").inner_text()
    assert visit.page.locator("#samples blockquote").get_by_text(f"newest {NASTY}").count() == 1
    assert "Roll back" in visit.page.locator("#events").inner_text()
    offsets = [url.split("offset=")[1] for url in visit.requests if "name=other" in url]
    assert offsets[0] == "0"
    assert int(offsets[1]) > 1000, "only what was new was fetched"
    assert visit.console == []
    assert all(url.startswith((server.address, "data:")) for url in visit.requests)


def test_a_person_chooses_which_runs_are_shown_and_how(
    browser: Any, serve: Callable[..., WatchServer], tmp_path: Path
) -> None:
    visit = Visit(browser, serve(*(write_run(tmp_path / name) for name in "abc")).address)
    visit.page.wait_for_selector("path.line")
    visit.page.get_by_label("b", exact=True).uncheck()
    assert visit.series("Training loss") == 2
    visit.page.select_option("select[name=layout]", "beside")
    assert [visit.series(f"Training loss: {name}") for name in "abc"] == [1, 0, 1]
    visit.page.get_by_label("c", exact=True).uncheck()
    assert visit.series("Loss") == 2, "one run alone has training and validation in one chart"


def a_family(folder: Path) -> Path:
    """Runs of other settings, two of them with reports, one made from another."""
    for layers, name in ((2, "small"), (10, "large"), (3, "small-sft")):
        run = write_run(folder / "runs" / name)
        base = f'base = "{folder}/runs/small"\n' if name == "small-sft" else ""
        text = (run / "run.toml").read_text(encoding="utf-8").replace("[request]\n", f"[request]\n{base}")
        (run / "run.toml").write_text(f"{text}[model]\nnum_layers = {layers}\nembed_dim = 64\n", encoding="utf-8")
        if name != "large":
            report(run)
    return folder / "runs"


def test_runs_are_sorted_by_a_setting_in_which_they_differ(
    browser: Any, serve: Callable[..., WatchServer], tmp_path: Path
) -> None:
    visit = Visit(browser, serve(folder=a_family(tmp_path)).address)
    visit.page.wait_for_selector("path.line")
    names = visit.page.locator("#runs tbody label")
    heading = visit.page.get_by_role("columnheader", name="layers")
    assert visit.page.get_by_role("columnheader", name="width").count() == 0, "they do not differ in it"
    assert names.all_inner_texts() == ["large", "small", "small-sft"]
    heading.get_by_role("button").click()
    assert (names.all_inner_texts(), heading.get_attribute("aria-sort")) == (
        ["small", "small-sft", "large"],
        "ascending",
    )
    visit.page.keyboard.press("Enter")
    assert (names.all_inner_texts(), heading.get_attribute("aria-sort")) == (
        ["large", "small-sft", "small"],
        "descending",
    )
    visit.page.get_by_label("small", exact=True).focus()
    append(tmp_path / "runs" / "small", event="step", step=500, train_loss=0.1234)
    visit.page.get_by_text("0.1234").wait_for(timeout=10_000)
    assert names.all_inner_texts() == ["large", "small-sft", "small"], "it stays sorted"
    assert visit.page.evaluate("document.activeElement.type") == "checkbox", "a person's place stays"
    visit.page.get_by_role("columnheader", name="layers").get_by_role("button").press("Space")
    assert names.all_inner_texts() == ["large", "small", "small-sft"]
    assert heading.get_attribute("aria-sort") is None
    visit.page.get_by_text("The words of this page").press("Enter")
    assert visit.page.get_by_text("nats per token on text that was held out").is_visible()
    assert visit.console == []


def test_runs_and_reports_are_linked(browser: Any, serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    server = serve(folder=a_family(tmp_path))
    visit = Visit(browser, server.address)
    row = visit.page.get_by_role("row", name="small-sft")
    row.get_by_role("link", name="small").click()
    assert "small" in visit.page.locator("tr:target label").inner_text()
    assert visit.page.get_by_role("row", name="large").get_by_role("link").count() == 0
    row.get_by_role("link", name="report").click()
    visit.page.wait_for_selector("path.line")
    assert visit.page.get_by_role("heading", name="small-sft").is_visible()
    visit.page.get_by_role("link", name="small", exact=True).click()
    visit.page.wait_for_selector("path.line")
    assert visit.page.url == f"{server.address}runs/small/report.html"
    assert visit.console == []


def test_a_report_that_somebody_sent_reads_nothing_of_this_server(
    browser: Any, serve: Callable[..., WatchServer], tmp_path: Path
) -> None:
    server = serve(folder=a_family(tmp_path))
    script = "fetch('/runs.json').then((a) => a.text()).then((t) => { document.body.textContent = `read ${t}`; })"
    script += ".catch(() => { document.body.textContent = 'kept out'; })"
    (tmp_path / "runs" / "small" / "report.html").write_text(f"<body><script>{script}</script>", encoding="utf-8")
    visit = Visit(browser, f"{server.address}runs/small/report.html")
    visit.page.get_by_text("kept out").wait_for()
    for path in ("/runs/large/report.html", "/runs/none/report.html", "/runs/small/run.toml", "/runs/../runs/small/x",
                 "/runs/small%2Freport.html", "/runs/"):  # fmt: skip
        assert ask(server, path)[0] == 404, path


def test_runs_come_and_go(browser: Any, serve: Callable[..., WatchServer], tmp_path: Path) -> None:
    server = serve(folder=tmp_path)
    visit = Visit(browser, server.address, dark=True)
    visit.page.get_by_text("No runs in").wait_for()
    run = write_run(tmp_path / "first")
    visit.page.get_by_label("first").wait_for(timeout=10_000)
    visit.page.wait_for_selector("path.line")
    shutil.rmtree(run)
    visit.page.get_by_text("No runs in").wait_for(timeout=10_000)
    server.shutdown()
    server.server_close()
    visit.page.get_by_text("not connected").wait_for(timeout=10_000)


def test_what_is_no_run_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text("", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    assert runs_among([tmp_path / "run", tmp_path / "notes.txt"]) == [tmp_path / "run"]
    assert "left out: " in capsys.readouterr().err
    with pytest.raises(UserError, match="no such run"):
        runs_among([tmp_path / "notes.txt"])
