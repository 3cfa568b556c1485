"""Ollama's folder: the Go template that lays conversations out as the run's Jinja template does, and the Modelfile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.convert.formats.gguf import FILE
from gptsmith.convert.go_template import LAYOUTS, PROMPT, default_system, go_template
from gptsmith.convert.go_tools import tool_form
from gptsmith.convert.probe_texts import CONVERSATIONS
from gptsmith.text.chat_template import CHATML, ChatTemplate
from tests.convert.sources import HERMES, LLAMA3, MISTRAL, QWEN, QWEN_ALONE, TOKENIZERS, ZEPHYR, form, source

DEFAULT_SYSTEM = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a smith.
"Answer" briefly.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
"""ChatML as SmolLM2 and Qwen2.5 have it."""
WITH_TOOLS = {"Qwen2.5": QWEN, "Qwen3": QWEN_ALONE, "Hermes": HERMES}
TEMPLATES = {
    "ChatML": ("bpe", CHATML),
    "Llama 3": ("llama3", LLAMA3),
    "Zephyr": ("llama2", ZEPHYR),
    "Mistral": ("llama2", MISTRAL),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_layout_that_renders_alike_is_taken(name: str) -> None:
    style, jinja = TEMPLATES[name]
    tokenizer = TOKENIZERS[style]()
    (layout,) = (layout for layout in LAYOUTS if layout.name == name)
    assert go_template(ChatTemplate(jinja), tokenizer) == layout.go(tokenizer.eos_token)


def test_a_layout_renders_what_the_jinja_template_does() -> None:
    tokenizer = TOKENIZERS["bpe"]()
    for messages in CONVERSATIONS:
        wanted = ChatTemplate(CHATML).render(messages, tokenizer=tokenizer, open_turn=True)
        assert LAYOUTS[0].render(messages, tokenizer.eos_token) == wanted


@pytest.mark.parametrize(
    ("style", "jinja", "message"),
    [
        ("bpe", CHATML.replace("'\n' + message.content", "'\n' + message.content | trim"), "none that is known here"),
        ("bpe", CHATML.replace("assistant\n", "assistant"), "none that is known here"),
        ("bpe", "{{ raise_exception('no') }}", "known: ChatML, Llama 3, Zephyr, Mistral"),
        ("llama3", LLAMA3.replace("{{ bos_token }}", ""), r"puts <\|begin_of_text\|> before every text"),
    ],
)
def test_a_template_that_no_layout_renders_is_refused(style: str, jinja: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        go_template(ChatTemplate(jinja), TOKENIZERS[style]())


def test_a_default_system_turn_is_the_modelfiles_system(tmp_path: Path) -> None:
    tokenizer, template = TOKENIZERS["bpe"](), ChatTemplate(DEFAULT_SYSTEM)
    system = 'You are a smith.\n"Answer" briefly.'
    assert default_system(template, tokenizer) == system
    assert default_system(ChatTemplate(CHATML), tokenizer) is None
    assert default_system(None, tokenizer) is None
    for messages in CONVERSATIONS:  # as Ollama puts it before conversations that have none
        turns = messages if messages[0]["role"] == "system" else [{"role": "system", "content": system}, *messages]
        wanted = template.render(messages, tokenizer=tokenizer, open_turn=True)
        assert LAYOUTS[0].render(turns, tokenizer.eos_token) == wanted
    form("ollama", "q8_0").write(replace(source("smith"), template=template), tmp_path)
    assert f'SYSTEM """{system}"""\n' in (tmp_path / "Modelfile").read_text()
    quoted = ChatTemplate(DEFAULT_SYSTEM.replace('"Answer"', '"""Answer"""'))
    with pytest.raises(UserError, match="none that is known here"):
        go_template(quoted, tokenizer)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_templates_with_tools_have_them_in_ollama_too(name: str) -> None:
    template = go_template(ChatTemplate(WITH_TOOLS[name]), TOKENIZERS["bpe"]())
    assert "if .Tools" in template
    assert "if .ToolCalls" in template
    assert "# Tools\n\nTheir signatures are within <tools></tools>:\n<tools>" in template  # the model's own words


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'}\\n</tool_call>'", "'}\\n</call>'"),
        ('{"name": "', '{"function": "'),
        ("\\n<tool_response>", "\\n<result>"),
        ("tool | tojson", "tool.function.name"),
        ("'\\n' + message.content }}{%- endif %}", "message.content }}{%- endif %}"),
    ],
)
def test_tools_in_another_form_are_left_out_and_the_modelfile_says_so(old: str, new: str, tmp_path: Path) -> None:
    assert old in QWEN
    changed = ChatTemplate(QWEN.replace(old, new))
    assert tool_form(changed, TOKENIZERS["bpe"]()) is None
    form("ollama", "q8_0").write(replace(source("smith"), template=changed), tmp_path)
    text = (tmp_path / "Modelfile").read_text()
    assert ".Tools" not in text
    assert text.startswith("# The chat template writes tools in a form that is not known here")


def test_a_base_model_goes_on_with_the_prompt() -> None:
    assert go_template(None, TOKENIZERS["bpe"]()) == PROMPT


def test_a_modelfile_says_where_turns_end_and_how_to_draw(tmp_path: Path) -> None:
    made = source("smith")
    settings = form("ollama", "q8_0")
    settings.check(made)
    settings.write(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "Modelfile"}
    assert (tmp_path / "Modelfile").read_text() == (
        'FROM ./model.gguf\nTEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n'
        '{{ end }}<|im_start|>assistant\n"""\nPARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|im_end|>"\n'
        "PARAMETER temperature 0.7\nPARAMETER top_k 40\nPARAMETER top_p 0.9\nPARAMETER num_ctx 128\n"
    )


def test_what_gguf_cannot_hold_ollama_cannot_either() -> None:
    with pytest.raises(UserError, match=r"feedforward\.activation=geglu"):
        form("ollama", "q8_0").check(source("llama2", feedforward={"kind": "gated", "activation": "geglu"}))
    unknown = replace(source("smith"), template=ChatTemplate("{{ messages[0].content }}"))
    with pytest.raises(UserError, match="export --to gguf"):
        form("ollama", "q8_0").check(unknown)
