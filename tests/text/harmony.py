"""A small tokenizer with the special tokens of OpenAI's harmony format, and a short chat template that writes turns in
channels as gpt-oss's does: thoughts of the answer at the end alone, or before calls whose answer is still to come."""

from __future__ import annotations

import re

from gptsmith.convert.gguf_pretokenizers import GPT4O_SPLIT
from gptsmith.text.tokenizer import Tokenizer
from tests.convert.tokenizer_styles import byte_level, split_by

SPECIAL = (
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
    "<|message|>", "<|call|>",
)  # fmt: skip
TEMPLATE = r"""
{{- '<|start|>system<|message|>Reasoning: ' + reasoning_effort | default('medium') + '<|end|>' }}
{%- set first = 1 if messages[0].role in ('system', 'developer') else 0 %}
{%- if first or tools %}
    {{- '<|start|>developer<|message|>' + (messages[0].content if first else '') }}
    {%- if tools %}
        {{- '\n\nnamespace functions {' }}
        {%- for tool in tools %}
            {{- '\n// ' + (tool.function.description or '') + '\ntype ' + tool.function.name + ' = ' }}
            {{- tool.function.parameters | tojson + ';' }}
        {%- endfor %}
        {{- '\n}' }}
    {%- endif %}
    {{- '<|end|>' }}
{%- endif %}
{%- set called = namespace(name='') %}
{%- for message in messages[first:] %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {%- if message.content and message.thinking %}{{ raise_exception('both content and thinking') }}{%- endif %}
        {%- set answered = namespace(is_so=false) %}
        {%- for later in messages[first:][loop.index:] if later.role == 'assistant' and not later.tool_calls %}
            {%- set answered.is_so = true %}
        {%- endfor %}
        {%- if not answered.is_so and (message.content or message.thinking) %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' }}
            {{- (message.content or message.thinking) + '<|end|>' }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {%- set called.name = call.name %}
        {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' }}
        {{- call.arguments if call.arguments is string else call.arguments | tojson }}
        {{- '<|call|>' }}
    {%- elif message.role == 'assistant' %}
        {%- if loop.last and not add_generation_prompt and message.thinking %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
        {%- endif %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content }}
        {{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|start|>functions.' + called.name + ' to=assistant<|channel|>commentary<|message|>' }}
        {{- message.content | tojson + '<|end|>' }}
    {%- else %}
        {{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"""


def harmony_tokenizer() -> Tokenizer:
    """A tokenizer that splits text as o200k_harmony does."""
    made = byte_level(split_by(GPT4O_SPLIT), SPECIAL)
    return Tokenizer(made, "<|return|>", "<|startoftext|>", ["<|call|>"])


def marked_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text in which special tokens are spelt out."""
    parts = re.split(r"(<\|\w+\|>)", text)
    ids = [[tokenizer.special_tokens[part]] if part in SPECIAL else tokenizer.encode_inside(part) for part in parts]
    return [number for some in ids for number in some]
