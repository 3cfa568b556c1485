"""Chat templates render what Transformers renders, whether it is installed or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.text.chat_templates import REFUSED, STYLES

CONVERSATION = [
    {"role": "system", "content": "Antworte kurz: é < ü & 鉄."},
    {"role": "user", "content": " What does a smith\nforge? "},
    {"role": "assistant", "content": "<think>\niron\n</think>\n\nA plough.", "thinking": "of iron"},
    {"role": "user", "content": "And then?"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "forge",
            "description": "Forges a thing.\nOf iron.",
            "parameters": {
                "type": "object",
                "properties": {"thing": {"type": "string"}, "count": {"type": ["integer", "null"]}, "any": {}},
            },
        },
    }
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with more named tokens than the end of a text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = BytesTokenizerSettings().train(list, 0)
    named = {"pad_token": "<|im_end|>", "unk_token": "<|endoftext|>", "image_token": "<|im_start|>"}
    Tokenizer(tokenizer.backend, "<|im_end|>", "<|im_start|>", extra=named).save(folder)
    return folder


def given(open_turn: bool) -> dict[str, Any]:
    return {"conversation": CONVERSATION, "tools": TOOLS, "enable_thinking": False, "add_generation_prompt": open_turn}


def render(source: str, tokenizer: Tokenizer, open_turn: bool) -> str:
    return ChatTemplate(source).render(
        CONVERSATION, tokenizer=tokenizer, open_turn=open_turn, variables={"tools": TOOLS, "enable_thinking": False}
    )


@pytest.mark.parametrize("name", STYLES)
def test_a_template_renders_what_transformers_renders(name: str, folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for open_turn in (False, True):
        expected = theirs.apply_chat_template(chat_template=STYLES[name], tokenize=False, **given(open_turn))
        assert render(STYLES[name], load_tokenizer(folder), open_turn) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_refuses_what_it_refuses_in_transformers(name: str, folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.raises(Exception, match=r"."):
        theirs.apply_chat_template(chat_template=REFUSED[name], tokenize=False, **given(False))
    with pytest.raises(UserError, match="does not take this conversation"):
        render(REFUSED[name], load_tokenizer(folder), False)


def test_transformers_is_not_needed(folder: Path, tmp_path: Path) -> None:
    """In a process that cannot import it, every template renders the same text."""
    (tmp_path / "sources.json").write_text(json.dumps(list(STYLES.values())))
    code = (
        "import json, sys; sys.modules['transformers'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from tests.text.test_template_environment import render\n"
        "from gptsmith.text.load import load_tokenizer\n"
        "tokenizer = load_tokenizer(sys.argv[2])\n"
        "print(json.dumps([render(source, tokenizer, True) for source in json.load(open(sys.argv[3]))]))"
    )
    root = Path(__file__).parents[2]
    arguments = [str(root), str(folder), str(tmp_path / "sources.json")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=root
    )
    assert json.loads(done.stdout) == [render(source, load_tokenizer(folder), True) for source in STYLES.values()]


def test_a_misspelt_tag_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match=r"not sound Jinja: .*genration") as caught:
        render("{% genration %}\n{% endgenration %}", load_tokenizer(folder), False)
    assert "\n" not in str(caught.value)
