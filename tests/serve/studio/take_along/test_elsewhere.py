"""Copies for other programs, from the press to the other program: what the browser saved is unpacked and read by it."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from playwright.sync_api import expect

import gptsmith

from ...conftest import QUESTION
from ..conftest import StudioPage, opened
from ..run_folders.conftest import copy

pytestmark = pytest.mark.story
LABELS = {
    "huggingface": "Hugging Face (Transformers, vLLM, MLX)",
    "gguf": "GGUF (llama.cpp, LM Studio)",
    "ollama": "Ollama",
}
PRECISIONS = {"huggingface": "float32", "gguf": "float32", "ollama": "q8_0"}


@pytest.fixture(scope="module")
def saved(runs: Path, tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Path:
    """A folder with the run `chat`, and what a browser saved of it by the buttons of the page, unpacked by format. The
    studio's own copies are gone."""
    home, made = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("saved")
    copy(runs / "chat", home / "runs" / "chat")
    with opened(home) as studio:
        seen = StudioPage(browser, studio, "take/chat")
        for to, precision in PRECISIONS.items():
            seen.page.locator("form.take select").first.select_option(to)
            seen.page.locator("form.take select").last.select_option(precision)
            seen.button("Write").click()
            row = seen.page.get_by_role("list", name="Copies").get_by_role("listitem").filter(has_text=LABELS[to])
            expect(row.get_by_role("button", name=re.compile("Certificate"))).to_be_visible()
            with seen.page.expect_download() as download:
                seen.button("Download", row).click()
            target = made / download.value.suggested_filename
            download.value.save_as(target)
            if target.suffix == ".zip":
                with zipfile.ZipFile(target) as archive:
                    assert archive.testzip() is None
                    archive.extractall(made)
                (made / f"chat-{to}-{precision}").rename(made / to)
        seen.close()
    copy(runs / "chat", made / "chat")
    shutil.rmtree(home)
    return made


def test_transformers_computes_the_same(saved: Path) -> None:
    folder, ours = saved / "huggingface", gptsmith.load(saved / "chat")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.template is not None
    prompt = ours.template.prompt_ids(ours.tokenizer, QUESTION)
    assert tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True)["input_ids"] == prompt
    ids = torch.tensor([prompt])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, ours.model.float()(ids), atol=1e-4, rtol=1e-4)


def test_the_gguf_library_reads_what_the_run_has(saved: Path) -> None:
    (path,) = saved.glob("*.gguf")
    reader, ours = gguf.GGUFReader(path), gptsmith.load(saved / "chat")
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    words = ours.model.state_dict()["embedding.weight"].float().numpy()
    np.testing.assert_array_equal(found["token_embd.weight"], words)
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == ours.tokenizer.vocab_size
    assert reader.fields["general.architecture"].contents() == "qwen3"


def test_ollama_has_its_modelfile_beside_the_weights(saved: Path) -> None:
    folder, ours = saved / "ollama", gptsmith.load(saved / "chat")
    lines = (folder / "Modelfile").read_text(encoding="utf-8").splitlines()
    (source,) = [line.removeprefix("FROM ") for line in lines if line.startswith("FROM ")]
    reader = gguf.GGUFReader(folder / source)
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"Q8_0", "F32"}
    text = "\n".join(lines)
    assert re.search(r'^TEMPLATE """[^"]*\{\{', text, re.MULTILINE)
    assert f"PARAMETER num_ctx {ours.config.context_length}" in lines
    ends = {ours.tokenizer.backend.id_to_token(number) for number in ours.tokenizer.end_ids}
    assert {json.loads(line.partition("stop ")[2]) for line in lines if line.startswith("PARAMETER stop")} == ends


@pytest.mark.parametrize("to", ["huggingface", "ollama"])
def test_the_certificate_is_inside_and_can_be_read_elsewhere(saved: Path, to: str) -> None:
    found = json.loads((saved / to / "certificate.json").read_text(encoding="utf-8"))
    statuses = {check["name"]: check["status"] for check in found["checks"]}
    assert "failed" not in statuses.values()
    assert (saved / to / "certificate.html").is_file()
    assert str(saved.parent) not in (saved / to / "certificate.html").read_text(encoding="utf-8")
