"""Chat templates in the style of real ones: everything that templates for Transformers use of its Jinja."""

from __future__ import annotations

STYLES: dict[str, str] = {
    "default system turn": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a smith.<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "generation tag": """
{%- for m in messages %}
    {{- '<|im_start|>' + m['role'] + '\n' }}
    {%- if m['role'] == 'assistant' %}
        {% generation %}
        {{- m['content'] + '<|im_end|>' }}
        {%- endgeneration %}
    {% else %}
        {{- m['content'] + '<|im_end|>' }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' -}}{% endif %}""",
    "a variable of a generation block": (
        "{% set x = 'outer' %}{% for m in messages %}{% generation %}{% set x = m.role %}{{ x }}{% endgeneration %}"
        "{{ x }}{% endfor %}"
    ),
    "break and continue": (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}|"
        "{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}"
    ),
    "tojson": (
        "{{ messages[0] | tojson }}{{ messages[1].content | tojson(ensure_ascii=true) }}"
        "{{ tools | tojson(separators=(',', ':')) }}{{ tools | tojson(indent=4, sort_keys=true) }}"
        "{{ '<&>' | tojson(indent='--') }}{{ tools | tojson(True) }}"
    ),
    "special tokens by name": (
        "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token }}{{ sep_token is defined }}"
        "{{ mask_token }}{{ image_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    ),
    "turns that must alternate": """
{%- if messages[0]['role'] == 'system' -%}
    {%- set system_message = messages[0]['content'] -%}{%- set loop_messages = messages[1:] -%}
{%- else -%}{%- set loop_messages = messages -%}{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {%- if loop.index0 == 0 and system_message is defined -%}
        {%- set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] -%}
    {%- else -%}{%- set content = message['content'] -%}{%- endif -%}
    {%- if message['role'] == 'user' -%}{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' -%}{{ ' ' + content | trim + ' ' + eos_token }}{%- endif -%}
{%- endfor -%}""",
    "a date": (
        "{% if not date_string is defined %}{% if strftime_now is defined %}"
        "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
        "{% endif %}{{ 'Today: ' + date_string }}"
    ),
    "a namespace": """
{%- set ns = namespace(last_user=-1, system='') -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set ns.last_user = loop.index0 -%}{%- endif -%}
    {%- if message.role == 'system' -%}
        {%- set ns.system = ns.system + message.content -%}
    {%- endif -%}
{%- endfor -%}
{{ ns.last_user }}{{ ns.system }}
{%- for message in messages[::-1] -%}
    {%- set index = (messages|length - 1) - loop.index0 -%}{{ index ~ ':' ~ message.role ~ ',' }}
{%- endfor -%}""",
    "thoughts": """
{%- for message in messages -%}
    {%- set content = message.content -%}
    {%- if '</think>' in content -%}
        {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') -%}
        {%- set content = content.split('</think>')[-1].lstrip('\n') -%}
        {{ '<think>\n' ~ reasoning ~ '\n</think>\n\n' if loop.last else '' }}
    {%- endif -%}
    {{ content }}{{ message.reasoning_content or '-' }}{{ message.thinking|default('none') }}
{%- endfor -%}
{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false -%}<think></think>{%- endif -%}
""",
    "macros": """
{%- macro render_type(spec) -%}
    {%- if spec.type == 'object' -%}
        {%- for name, inner in spec.properties|dictsort -%}
            {{ name }}: {{ render_type(inner) }}{% if not loop.last %}, {% endif %}
        {%- endfor -%}
    {%- elif spec.type is string -%}{{ spec.type|upper }}
    {%- elif spec.type is iterable -%}{{ spec.type|join(' | ') }}
    {%- else -%}any{%- endif -%}
{%- endmacro -%}
{%- macro quoted(text) -%}"{{ text }}{{ caller() if caller else '' }}"{%- endmacro -%}
{%- for tool in tools or [] -%}
    {{ tool.function.name }}({{ render_type(tool.function.parameters) }})
    {%- if tool.function.description is not none %}
        {{- ' // ' + tool.function.description|replace('\n', ' ')|trim }}{% endif %}
{%- endfor -%}
{{ quoted(messages[0].role) }}{% call quoted('x') %}y{% endcall %}""",
    "filters": (
        "{{ messages|map(attribute='role')|join(', ') }}"
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
        "{{ messages|rejectattr('role', 'equalto', 'user')|map(attribute='content')|first }}"
        "{{ ['b', 'a']|sort|join('-') }}{{ 'ab cd'|title }}{{ 'ABC'|lower|capitalize }}{{ '  x '|trim }}"
        "{{ [1, 2, 3]|sum }}{{ [3, 1]|max }}{{ {'b': 1, 'a': 2}|items|list }}{{ 'a\nb'|indent(2) }}"
        "{{ 3.14159|round(2) }}"
        "{{ '%s-%03d'|format('a', 7) }}{{ '<b>'|e }}{{ [[1, 2], [3]]|map('length')|list }}{{ 'x'|center(5) }}"
        "{{ [1, 2, 3, 4]|batch(3, 0)|list }}{{ [1, 1, 2]|unique|list }}{{ 'abc'|reverse }}{{ 'a b c'|wordcount }}"
        "{{ 'abcdef'|truncate(3, True, '') }}{{ 'x&y'|urlencode }}{{ 5|default('z') }}{{ none|string }}"
        "{{ '7'|int + 1 }}"
        "{{ '<b>'|safe }}{{ [{'g': 1, 'v': 2}]|groupby('g') }}{{ [1, 2, 3]|last }}{{ (1, 2)|list }}{{ -3|abs }}"
    ),
    "methods": (
        "{{ 'a,b'.split(',') }}{{ ' x '.strip() }}{{ 'abc'.startswith('a') }}{{ 'abc'.replace('b', 'B') }}"
        "{{ ', '.join(['x', 'y']) }}{{ '{} {a}'.format(1, a='z') }}{{ {'k': 1}.get('q', 5) }}"
        "{% for key, value in {'k': 1, 'l': [2]}.items() %}{{ key }}={{ value }};{% endfor %}{{ 'x'.upper() }}"
        "{{ 'a-b-c'.rsplit('-', 1)[0] }}{{ 'ab'.find('b') }}{{ 'x'.ljust(3) + '|' }}{{ 'ab cd'.title() }}"
        "{{ [1, 2].index(2) }}{{ 'aXb'.partition('X') }}{{ '7'.zfill(3) }}{{ 'abab'.count('ab') }}{{ 'a'.isdigit() }}"
    ),
    "operators": (
        "{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 5 }}{{ 'ab' * 3 }}{{ [1] + [2] }}{{ 'a' ~ 1 ~ none }}{{ 1 if false }}"
        "{{ 'b' in 'abc' }}{{ 1 < 2 <= 2 }}{{ not true }}{{ '%s' % 'q' }}{{ 3 / 2 }}{{ {'a': [1, {'b': 2}]} }}"
        "{{ (1, 'x') }}"
    ),
    "blocks": (
        "{% set text %}one {{ messages[0].role }}{% endset %}{{ text * 2 }}{% filter upper %}loud{% endfilter %}"
        "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% raw %}{{ raw }}{% endraw %}{# note #}"
        "{% set comma = joiner(', ') %}{{ comma() }}a{{ comma() }}b{% set c = cycler('x', 'y') %}{{ c.next() }}"
        "{{ c.next() }}"
        "{% for x in [1, 2] recursive %}{{ x }}{{ loop([]) }}{% else %}none{% endfor %}"
        "{% for x in range(3) if x != 1 %}{{ loop.length }}{{ x }}{{ loop.cycle('p', 'q') }}{% endfor %}"
    ),
    "a dict": "{{ dict(a=1) }}{{ dict.fromkeys(['a']) }}{{ dict([('b', 2)])|tojson }}",
}

REFUSED: dict[str, str] = {
    "its own reason": "{{ raise_exception('Only user and assistant roles are supported!') }}",
    "an undefined name": "{{ sep_token + 'x' }}",
    "a private name of a namespace": "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "a list that is changed": "{% set _ = messages.append(1) %}",
    "an inner attribute": "{{ messages.__class__ }}{{ messages.__class__.__mro__ }}",
}
