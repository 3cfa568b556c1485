"""Tools, calls and results in Ollama's templates: in ChatML as Qwen2.5 and Hermes write them.

The text around the tools' signatures is the model's own, taken from what its Jinja template renders; calls and results
have one form, and whether the template has it is tried on conversations. JSON is Ollama's: compact, and in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.text.chat_template import ChatTemplate, Message
from gptsmith.text.tokenizer import Tokenizer

START, END = "<|im_start|>", "<|im_end|>\n"
OPENING = START + "assistant\n"
SIGNATURE = '{"type": "function", "function": %s}'
CALL = '\n<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
RESULT = "\n<tool_response>\n%s\n</tool_response>"
RESULT_ROLES = ("user", "tool")
QUOTES = '"""'

FORGE: dict[str, Any] = {
    "name": "forge",
    "description": "Forge a thing.",
    "parameters": {
        "type": "object",
        "properties": {"thing": {"type": "string", "description": "its name"}, "weight": {"type": "number"}},
        "required": ["thing"],
    },
}
SELL: dict[str, Any] = {"name": "sell", "description": "Sell it.", "parameters": {"type": "object", "properties": {}}}
TOOLS = tuple({"type": "function", "function": function} for function in (FORGE, SELL))
SYSTEM = {"role": "system", "content": "Answer briefly."}
USER = {"role": "user", "content": "A nail, please."}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A call in a turn of the assistant."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


ONE_CALL = {"role": "assistant", "content": "", "tool_calls": [call("forge", thing="näil", weight=1.5)]}
TWO_CALLS = {"role": "assistant", "content": "At once.", "tool_calls": [call("forge", thing="a nail"), call("sell")]}
RESULTS = ({"role": "tool", "content": '{"made": "nail"}'}, {"role": "tool", "content": "sold"})
CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (USER,),
    (SYSTEM, USER),
    (USER, ONE_CALL, RESULTS[0]),
    (SYSTEM, USER, TWO_CALLS, *RESULTS),
    (SYSTEM, USER, TWO_CALLS, *RESULTS, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Ta."}),
    (USER, ONE_CALL, RESULTS[0], ONE_CALL, RESULTS[1], {"role": "assistant", "content": "Both."}, USER),
)


@dataclass(frozen=True)
class ToolForm:
    """ChatML with tools.

    Attributes:
        after_system: the text between a conversation's system turn and the first tool's signature.
        alone: the text before the first signature where there is no system turn.
        between: the text between two signatures.
        closing: the text behind the last one.
        result_role: the role of the turn that holds the results.
    """

    after_system: str
    alone: str
    between: str
    closing: str
    result_role: str

    def go(self) -> str:
        """As a Go template over `.Messages` and `.Tools`."""
        after_system, alone, between, closing = (
            text.replace("{{", '{{ "{{" }}') for text in (self.after_system, self.alone, self.between, self.closing)
        )
        tools = (
            f"{START}system\n"
            f'{{{{ with index .Messages 0 }}}}{{{{ if eq .Role "system" }}}}{{{{ .Content }}}}{after_system}'
            f"{{{{ else }}}}{alone}{{{{ end }}}}{{{{ end }}}}"
            f"{{{{ range $i, $_ := .Tools }}}}{{{{ if $i }}}}{between}{{{{ end }}}}"
            f"{SIGNATURE % '{{ .Function }}'}{{{{ end }}}}{closing}{END}"
        )
        result = f'{{{{ if ne $before "tool" }}}}{START}{self.result_role}{{{{ end }}}}{RESULT % "{{ .Content }}"}'
        # Ollama looks for calls in an answer by the first text behind `if .ToolCalls`.
        answer = (
            f"{START}assistant{{{{ if .Content }}}}\n{{{{ .Content }}}}{{{{ end }}}}{{{{ if .ToolCalls }}}}"
            f"{{{{ range .ToolCalls }}}}{CALL % ('{{ .Function.Name }}', '{{ .Function.Arguments }}')}{{{{ end }}}}"
            f"{{{{ else if not .Content }}}}\n{{{{ end }}}}{END}"
        )
        return (
            f'{{{{ if .Tools }}}}{tools}{{{{ end }}}}{{{{ $before := "" }}}}{{{{ range $i, $_ := .Messages }}}}'
            f'{{{{ if and (eq $before "tool") (ne .Role "tool") }}}}{END}{{{{ end }}}}'
            f'{{{{ if eq .Role "tool" }}}}{result}{{{{ else if eq .Role "assistant" }}}}{answer}'
            f'{{{{ else if not (and $.Tools (eq $i 0) (eq .Role "system")) }}}}{START}{{{{ .Role }}}}\n'
            f"{{{{ .Content }}}}{END}{{{{ end }}}}{{{{ $before = .Role }}}}{{{{ end }}}}"
            f'{{{{ if eq $before "tool" }}}}{END}{{{{ end }}}}{OPENING}'
        )

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """The text that the Go template gives, with JSON as Transformers writes it."""
        written, before = [], ""
        if tools:
            has_system = messages[0]["role"] == "system"
            start = messages[0]["content"] + self.after_system if has_system else self.alone
            signatures = self.between.join(SIGNATURE % json_of(tool["function"]) for tool in tools)
            written.append(f"{START}system\n{start}{signatures}{self.closing}{END}")
            messages = messages[has_system:]
        for message in (*messages, {"role": "", "content": ""}):
            role, content = message["role"], message["content"]
            if before == "tool" and role != "tool":
                written.append(END)
            if role == "tool":
                written += [START + self.result_role if before != "tool" else "", RESULT % content]
            elif calls := message.get("tool_calls"):
                texts = [CALL % (one["function"]["name"], json_of(one["function"]["arguments"])) for one in calls]
                written += [f"{START}{role}", f"\n{content}" if content else "", *texts, END]
            elif role:
                written.append(f"{START}{role}\n{content}{END}")
            before = role
        return "".join([*written, OPENING])


def tool_form(template: ChatTemplate, tokenizer: Tokenizer) -> ToolForm | None:
    """The form in which a template of ChatML writes tools, calls and results; None if it is no known one."""
    bos = "".join(str(tokenizer.backend.id_to_token(number)) for number in tokenizer.bos_ids)

    def text(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        given = {"tools": list(tools) or None}
        return template.render(messages, tokenizer=tokenizer, open_turn=True, variables=given).removeprefix(bos)

    try:
        after_system = _around_signatures(text((SYSTEM, USER), TOOLS), SYSTEM["content"])
        alone = _around_signatures(text((USER,), TOOLS), "")
        if after_system is None or alone is None or after_system[1:] != alone[1:] or QUOTES in "".join(after_system):
            return None
        for role in RESULT_ROLES:
            form = ToolForm(after_system[0], alone[0], *alone[1:], role)
            if all(
                form.render(messages, tools) == text(messages, tools)
                for messages in CONVERSATIONS
                for tools in ((), TOOLS[:1], TOOLS)
                if tools or messages[0]["role"] == "system"  # others may begin with a default system turn
            ):
                return form
    except UserError:
        pass
    return None


def json_of(value: Any) -> str:
    """JSON as Transformers' templates write it."""
    return json_text(value, ensure_ascii=False)


def _around_signatures(text: str, system: str) -> tuple[str, str, str] | None:
    """The texts before, between and behind the signatures in the system turn before the user's; None if they are not
    there."""
    first, second = (SIGNATURE % json_of(tool["function"]) for tool in TOOLS)
    start, end = f"{START}system\n{system}", f"{END}{START}user\n{USER['content']}{END}{OPENING}"
    if not (text.startswith(start) and text.endswith(end)):
        return None
    before, found, rest = text.removeprefix(start).removesuffix(end).partition(first)
    between, also_found, closing = rest.partition(second)
    return (before, between, closing) if found and also_found else None
