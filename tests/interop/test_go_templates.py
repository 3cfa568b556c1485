"""Go itself renders the templates that we write for Ollama, from data as Ollama gives it. Ollama itself is not run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptsmith.convert.formats.ollama import MODELFILE
from gptsmith.convert.go_template import PROMPT, default_system, go_template
from gptsmith.convert.go_tools import CONVERSATIONS as WITH_CALLS
from gptsmith.convert.go_tools import TOOLS
from gptsmith.convert.probe_texts import CONVERSATIONS
from gptsmith.text.chat_template import ChatTemplate
from tests.convert.sources import TOKENIZERS, form, source
from tests.convert.test_ollama import DEFAULT_SYSTEM, TEMPLATES, WITH_TOOLS

PROGRAM = """
package main

import (
	"encoding/json"
	"os"
	"text/template"
)

// As in Ollama: what a template prints of tools and arguments is JSON, by methods of theirs.
type Arguments map[string]any

func (a *Arguments) String() string {
	text, _ := json.Marshal(a)
	return string(text)
}

type Call struct {
	Function struct {
		Name      string
		Arguments Arguments
	}
}

type Function map[string]any

func (f Function) String() string {
	text, _ := json.Marshal(map[string]any(f))
	return string(text)
}

type Tool struct {
	Type     string
	Function Function
}

type Message struct {
	Role, Content string
	ToolCalls     []Call `json:"tool_calls"`
}

type Values struct {
	Messages                 []*Message
	Tools                    []Tool
	System, Prompt, Response string
}

type Task struct {
	Template string
	Values   []Values
}

func main() {
	var task Task
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(task.Template))
	out := json.NewEncoder(os.Stdout)
	for _, values := range task.Values {
		var text stringWriter
		if err := parsed.Execute(&text, map[string]any{
			"Messages": values.Messages, "System": values.System, "Prompt": values.Prompt, "Response": "",
			"Tools": values.Tools,
		}); err != nil {
			panic(err)
		}
		if err := out.Encode(string(text)); err != nil {
			panic(err)
		}
	}
}

type stringWriter []byte

func (s *stringWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
"""
Go = Callable[[str, list[dict[str, Any]]], list[str]]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    """Renders values by a template in Go."""
    command = shutil.which("go")
    assert command is not None, "these tests need Go (apt-get install golang-go)"
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(PROGRAM)
    subprocess.run([command, "build", "-o", "render", "main.go"], cwd=folder, check=True)

    def render(template: str, values: list[dict[str, Any]]) -> list[str]:
        task = json.dumps({"Template": template, "Values": values})
        done = subprocess.run([folder / "render"], input=task, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return render


def values_of(messages: Any, tools: Any = ()) -> dict[str, Any]:
    return {
        "Messages": messages,
        "Tools": list(tools) or None,
        "System": "\n\n".join(message["content"] for message in messages if message["role"] == "system"),
        "Prompt": messages[-1]["content"],
    }


MORE = (
    [{"role": "user", "content": "\n \t both ends \r\n\v\f "}],
    [{"role": "user", "content": " \n "}, {"role": "assistant", "content": ""}],
    [{"role": "user", "content": 'back\\slash "quoted" `tick` {{ .System }} {{/* no */}} <|im_end|> é 鉄'}],
    [{"role": "user", "content": "x" * 5000 + " " * 500}],
)


@pytest.mark.parametrize("name", TEMPLATES)
def test_go_renders_conversations_as_jinja_does(name: str, go: Go) -> None:
    style, jinja = TEMPLATES[name]
    tokenizer, template = TOKENIZERS[style](), ChatTemplate(jinja)
    opening = tokenizer.bos_token if tokenizer.bos_ids else ""
    conversations = [
        messages for messages in (*CONVERSATIONS, *MORE) if name != "Mistral" or messages[0]["role"] != "system"
    ]
    wanted = [template.render(messages, tokenizer=tokenizer, open_turn=True) for messages in conversations]
    assert all(text.startswith(opening or "") for text in wanted)
    rendered = go(go_template(template, tokenizer), [values_of(messages) for messages in conversations])
    assert rendered == [text.removeprefix(opening or "") for text in wanted]


def test_go_renders_a_default_system_turn_that_ollama_puts_first(go: Go) -> None:
    tokenizer, template = TOKENIZERS["bpe"](), ChatTemplate(DEFAULT_SYSTEM)
    system = default_system(template, tokenizer)
    given = [
        messages if messages[0]["role"] == "system" else ({"role": "system", "content": system}, *messages)
        for messages in CONVERSATIONS
    ]
    rendered = go(go_template(template, tokenizer), [values_of(messages) for messages in given])
    wanted = [template.render(messages, tokenizer=tokenizer, open_turn=True) for messages in CONVERSATIONS]
    assert rendered == wanted


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_go_renders_tools_calls_and_results_as_jinja_does(name: str, go: Go) -> None:
    tokenizer, template = TOKENIZERS["bpe"](), ChatTemplate(WITH_TOOLS[name])
    system = default_system(template, tokenizer)
    turns = (*CONVERSATIONS, *WITH_CALLS, ({"role": "system", "content": ""}, *WITH_CALLS[-1]))
    asked = [(messages, tools) for messages in turns for tools in ((), TOOLS[:1], TOOLS)]
    given = [
        (messages if system is None or messages[0]["role"] == "system" else (_system(system), *messages), tools)
        for messages, tools in asked
    ]
    rendered = go(go_template(template, tokenizer), [values_of(*each) for each in given])
    for text, (messages, tools) in zip(rendered, asked, strict=True):
        variables = {"tools": list(tools) or None}
        wanted = template.render(messages, tokenizer=tokenizer, open_turn=True, variables=variables)
        assert _with_plain_json(text) == _with_plain_json(wanted)


def _system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def _with_plain_json(text: str) -> list[Any]:
    """The lines of a text, those of JSON as their values: Ollama writes it without spaces and in another order."""
    lines: list[Any] = []
    for line in text.split("\n"):
        try:
            lines.append(json.loads(line))
        except ValueError:
            lines.append(line)
    return lines


def test_go_gives_a_base_model_the_prompt_alone(go: Go) -> None:
    prompts = [" \n{{ .Prompt }} ", "", 'a "b"']
    assert go(PROMPT, [{"Messages": [], "System": "", "Prompt": prompt} for prompt in prompts]) == prompts


def test_the_template_in_the_modelfile_is_the_one_that_was_rendered(go: Go, tmp_path: Path) -> None:
    made = source("smith")
    form("ollama", "q8_0").write(made, tmp_path)
    template = (tmp_path / MODELFILE).read_text().split('"""')[1]
    assert made.template is not None
    (text,) = go(template, [values_of(CONVERSATIONS[2])])
    assert text == made.template.render(CONVERSATIONS[2], tokenizer=made.tokenizer, open_turn=True)
