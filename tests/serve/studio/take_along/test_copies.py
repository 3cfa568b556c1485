"""Copies of runs: written by a job, with a certificate, and downloaded as one file."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.take_along.copies import is_copy_of
from gptsmith.serve.studio.take_along.zipped import zipped

from ..conftest import PHONE, Opened, StudioPage, opened
from ..run_folders.conftest import copy

NAME = "🦊 chat's & more #1"


def refused(studio: Opened, path: str, **body: Any) -> str:
    answer = studio.ask("POST", f"/studio/api/{path}", body)
    assert answer.status in (400, 404), answer.data
    return str(answer.error["message"])


def downloaded(studio: Opened, path: str) -> Any:
    """What a link gives to a browser, which sends no token with it."""
    path = f"/studio/api/{path}"
    assert studio.ask("GET", path, token="x" * 32).status == 401
    ticket = studio.ask("POST", "/studio/api/tickets", {"path": path}).json["ticket"]
    answer = studio.ask("GET", f"{path}?ticket={ticket}", token="x" * 32)
    assert answer.status == 200, answer.data
    return answer


def test_a_copy_is_of_the_weights_that_a_run_has_now(tmp_path: Path) -> None:
    run, made = tmp_path / "run", tmp_path / "made"
    for folder in (run / "checkpoints" / "0000008", made):
        folder.mkdir(parents=True)
    assert not is_copy_of(run, made), "it is not whole"
    (made / "certificate.json").touch()
    assert is_copy_of(run, made)
    for time_ns, is_of_now in ((10, True), (30, False)):
        os.utime(made / "certificate.json", ns=(20, 20))
        os.utime(run / "checkpoints" / "0000008", ns=(time_ns, time_ns))
        assert is_copy_of(run, made) is is_of_now
    assert is_copy_of(tmp_path / "another kind of run", made)


@pytest.mark.story
def test_a_copy_is_written_shown_with_its_certificate_and_downloaded(runs: Path, tmp_path: Path, browser: Any) -> None:
    copy(runs / "chat", tmp_path / "runs" / NAME)
    with opened(tmp_path) as studio:
        seen = StudioPage(browser, studio, f"take/{quote(NAME)}", **PHONE)
        page = seen.page
        page.get_by_label("For").select_option("gguf")
        seen.button("Write").click()
        expect(page.get_by_role("button", name="Certificate")).to_be_visible()
        (about,) = studio.get(f"copies/of/{quote(NAME)}")["copies"]
        assert (about["format"], about["precision"], about["is_ready"]) == ("gguf", "q8_0", True)
        assert "is no format" in refused(studio, "copies/write", run=NAME, format="gguf", precision="../x")
        assert "already" in refused(studio, "copies/write", run=NAME, format="gguf", precision="q8_0")
        with page.expect_download() as download:
            seen.button("Download", page.locator(".run")).click()
        assert download.value.suggested_filename.endswith("#1-gguf-q8_0.gguf")
        assert Path(download.value.path()).read_bytes()[:4] == b"GGUF"
        with page.expect_popup() as popup:
            page.get_by_role("button", name="Certificate").click()
        expect(popup.value.get_by_role("heading").first).to_be_visible()
        seen.button("Delete: GGUF (llama.cpp, LM Studio) · quarter size (q8_0)").click()
        seen.button("Delete", page.get_by_role("dialog")).click()
        expect(page.get_by_text("None yet.")).to_be_visible()
        seen.close()
        archive = zipfile.ZipFile(io.BytesIO(downloaded(studio, f"archives/{quote(NAME, safe='')}").data))
        assert archive.testzip() is None
        assert f"{NAME}/run.toml" in archive.namelist()


def test_what_cannot_be_copied_is_said(studio: Opened) -> None:
    for name in ("..", "no such"):
        assert "there is no" in refused(studio, "copies/write", run=name, format="gguf", precision="q8_0")
        assert "there is no" in refused(studio, "copies/delete", copy_name=name)


def test_an_archive_holds_every_file_and_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "checkpoints").mkdir(parents=True)
    content = bytes(range(256)) * 10_000
    (folder / "checkpoints" / "weights").write_bytes(content)
    (folder / "🦊.txt").write_text("fox", encoding="utf-8")
    (folder / ".lock").touch()
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "into").symlink_to("/etc", target_is_directory=True)
    parts = list(zipped(folder))
    assert max(map(len, parts)) < 3 << 20
    archive = zipfile.ZipFile(io.BytesIO(b"".join(parts)))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["mine/checkpoints/weights", "mine/🦊.txt"]
    assert archive.read("mine/checkpoints/weights") == content
