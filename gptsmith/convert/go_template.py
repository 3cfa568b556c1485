"""Conversations as Ollama lays them out: by a template of Go's text/template, which no rule makes of a Jinja template.

A few layouts are known. Each is written as a Go template and rendered here by the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptsmith.base.errors import ConversionError, UserError
from gptsmith.convert.go_tools import tool_form
from gptsmith.convert.probe_texts import CONVERSATIONS
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer

PROMPT = "{{ .Prompt }}"
"""The template of a model that continues text."""

SPACES = " \t\n\r\v\f"
ANY = ""
QUOTES = '"""'
"""What ends a text of several lines in a Modelfile, which has no way to write it."""
TRIM = (
    '{{ define "trimmed" }}{{ if . }}'
    + "".join(
        f'{{{{ {word} (or {tests}) }}}}{{{{ template "trimmed" ({rest}) }}}}'
        for word, tests, rest in (
            (
                "if",
                " ".join(f'(eq (slice . 0 1) "{c}")' for c in (r" ", r"\t", r"\n", r"\r", r"\v", r"\f")),
                "slice . 1",
            ),
            (
                "else if",
                " ".join(f'(eq (slice . (len (slice . 1))) "{c}")' for c in (r" ", r"\t", r"\n", r"\r", r"\v", r"\f")),
                "slice . 0 (len (slice . 1))",
            ),
        )
    )
    + "{{ else }}{{ . }}{{ end }}{{ end }}{{ end }}"
)
"""Go's templates have no function for it, and Ollama adds none: one space a call is taken off, at either end."""


@dataclass(frozen=True)
class Layout:
    """The form of turns, and the beginning of the assistant's next one, which Ollama always asks for.

    Attributes:
        name: its name.
        turns: the text before and behind the content of a role's turn, where `{role}` is the role and `{eos}` the
            token that ends a document. Roles that are not named are left out.
        opening: the beginning of the assistant's turn.
        trims: whether white space around contents is left out.
    """

    name: str
    turns: Mapping[str, tuple[str, str]]
    opening: str
    trims: bool = False

    def go(self, eos: str) -> str:
        """As a Go template over `.Messages`."""
        content = '{{ template "trimmed" .Content }}' if self.trims else "{{ .Content }}"
        body = "".join(
            f'{{{{ if eq .Role "{role}" }}}}{turn}{{{{ end }}}}' if role != ANY else turn
            for role, turn in ((role, before + content + after) for role, (before, after) in self.turns.items())
        )
        body = body.replace("{role}", "{{ .Role }}").replace("{eos}", eos)
        return f"{TRIM if self.trims else ''}{{{{ range .Messages }}}}{body}{{{{ end }}}}{self.opening}"

    def render(self, messages: Sequence[Mapping[str, str]], eos: str) -> str:
        """The text that the Go template gives."""
        written = []
        for message in messages:
            content = message["content"].strip(SPACES) if self.trims else message["content"]
            if message["role"] in self.turns or ANY in self.turns:
                written.append(content.join(self.around(message["role"], eos)))
        return "".join(written) + self.opening

    def around(self, role: str, eos: str) -> tuple[str, str]:
        """The text before and behind the content of a role's turn."""
        before, after = self.turns.get(role, self.turns.get(ANY, ("", "")))
        return tuple(part.replace("{role}", role).replace("{eos}", eos) for part in (before, after))  # type: ignore[return-value]


CHATML = "ChatML"
LAYOUTS = (
    Layout(CHATML, {ANY: ("<|im_start|>{role}\n", "<|im_end|>\n")}, "<|im_start|>assistant\n"),
    Layout(
        "Llama 3",
        {ANY: ("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")},
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        trims=True,
    ),
    Layout("Zephyr", {ANY: ("<|{role}|>\n", "{eos}\n")}, "<|assistant|>\n"),
    Layout("Mistral", {"user": ("[INST] ", " [/INST]"), "assistant": ("", "{eos}")}, ""),
)


def go_template(template: ChatTemplate | None, tokenizer: Tokenizer) -> str:
    """The Go template that lays conversations out as a run's template does, with tools where their form is known.

    Raises:
        ConversionError: no known one does.
    """
    if template is None:
        return PROMPT
    layout, _ = _layout_of(template, tokenizer)
    form = tool_form(template, tokenizer) if layout.name == CHATML and "tools" in template.variables else None
    return layout.go(tokenizer.eos_token) if form is None else form.go()


def default_system(template: ChatTemplate | None, tokenizer: Tokenizer) -> str | None:
    """The system turn that a run's template begins conversations with that have none; None if there is none.

    Raises:
        ConversionError: no known layout is the template's.
    """
    return None if template is None else _layout_of(template, tokenizer)[1]


def _layout_of(template: ChatTemplate, tokenizer: Tokenizer) -> tuple[Layout, str | None]:
    """The layout that a template has, and its default system turn.

    Raises:
        ConversionError: none has it.
    """
    wanted, eos = _rendered(template, tokenizer), tokenizer.eos_token
    for layout in LAYOUTS:
        for system in (None, _system_turn(layout, wanted, eos)):
            if wanted and all(layout.render(_with_system(turns, system), eos) == text for turns, text in wanted):
                return layout, system
    raise ConversionError(
        "Ollama's templates are Go's, and none that is known here lays conversations out as this model's chat template "
        f"does (known: {', '.join(layout.name for layout in LAYOUTS)}): export --to gguf, whose file keeps the template"
    )


Rendering = tuple[Sequence[Mapping[str, str]], str]


def _with_system(messages: Sequence[Mapping[str, str]], system: str | None) -> Sequence[Mapping[str, str]]:
    """A conversation as Ollama gives it to the template of a model that has a default system turn."""
    if system is None or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def _system_turn(layout: Layout, wanted: Sequence[Rendering], eos: str) -> str | None:
    """The text of the system turn that stands before the first conversation that has none; None if none does."""
    for messages, text in wanted:
        rest = layout.render(messages, eos)
        if messages[0]["role"] != "system" and text.endswith(rest):
            before, after = layout.around("system", eos)
            turn = text.removesuffix(rest)
            system = turn.removeprefix(before).removesuffix(after)
            is_turn = turn == before + system + after
            return system if is_turn and system and QUOTES not in system else None
    return None


def _rendered(template: ChatTemplate, tokenizer: Tokenizer) -> list[tuple[Sequence[Mapping[str, str]], str]]:
    """The conversations that a template takes, with the text of each; without the token before every text, which is put
    there when the text is encoded.

    Raises:
        ConversionError: the template leaves that token out, so that it would be put where it does not belong.
    """
    bos = "".join(str(tokenizer.backend.id_to_token(number)) for number in tokenizer.bos_ids)
    found: list[tuple[Sequence[Mapping[str, str]], str]] = []
    for messages in CONVERSATIONS:
        try:
            text = template.render(messages, tokenizer=tokenizer, open_turn=True)
        except UserError:
            continue
        if not text.startswith(bos):
            raise ConversionError(
                f"Ollama puts {bos} before every text, and this model's chat template does not: export --to gguf"
            )
        found.append((messages, text.removeprefix(bos)))
    return found
