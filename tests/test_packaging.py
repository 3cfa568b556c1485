"""What installs gptsmith elsewhere is sound: the Dockerfile, the service, the pages made from docstrings.

`make wheel` runs the Dockerfile's steps, and `make docs` builds the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gptsmith

ROOT = Path(__file__).resolve().parents[1]


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.is_file():
        pytest.skip("hadolint is not installed here")
    subprocess.run([program, ROOT / "Dockerfile"], check=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_service(tmp_path: Path) -> None:
    unit = tmp_path / "gptsmith.service"
    text = (ROOT / "examples" / "systemd" / unit.name).read_text(encoding="utf-8")
    unit.write_text(text.replace("/srv/gptsmith/.venv/bin/gptsmith", sys.executable), encoding="utf-8")
    outcome = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")}
    assert set(gptsmith.__all__) - {"__version__"} <= listed


def test_the_description_of_the_package_links_to_nothing_beside_it() -> None:
    """PyPI and pip show it where the repository is not there. `make wheel` looks at the built metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / project["readme"]).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)|(?:src|href)=[\"']([^\"']+)", text)
    assert not [link for pair in links for link in pair if link and not link.startswith("https://")]
