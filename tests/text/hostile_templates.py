"""Chat templates that would work without end, fill the memory, or fail inside Python."""

from __future__ import annotations

DOUBLED = "{% set x = 'xxxxxxxxxxxxxxxx' %}"

TOO_MUCH: dict[str, str] = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops in an expression's place": "{% for a in range(99999) if range(99999)|list|length > 1 %}{% endfor %}",
    "a loop that writes": "{% for a in range(99999) %}{{ 'xxxxxxxxxx' * 100 }}{% endfor %}",
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a recursive loop": ("{% for x in [60] recursive %}{% if x %}{{ loop([x - 1, x - 1]) }}{% endif %}{% endfor %}"),
    "a text doubled": DOUBLED + "{% set x = x ~ x %}" * 60 + "{{ x }}",
    "a text added to itself": DOUBLED + "{% set x = x + x %}" * 60 + "{{ x }}",
    "a text doubled in a block": DOUBLED + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60 + "{{ x }}",
    "a text doubled by a filter block": (
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}"
        "{% set y %}{% filter replace('x', 'xx') %}{{ ns.x }}{% endfilter %}{% endset %}{% set ns.x = y %}{% endfor %}"
    ),
    "a text doubled by a macro": (
        "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}" + DOUBLED + "{% set x = d(x) %}" * 60 + "{{ x }}"
    ),
    "a text times a number": "{{ 'x' * 10000000000 }}",
    "a number times a text": "{{ 10000000000 * 'x' }}",
    "a list times a number": "{{ [0] * 10000000000 }}",
    "lists in lists": "{% set x = ['x'] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "tuples in tuples": "{% set x = ('x',) %}" + "{% set x = (x, x) %}" * 60 + "{{ {x: 1} }}",
    "tables in tables": "{% set x = {} %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x == x }}",
    "lists in lists, by dict": "{% set x = {} %}" + "{% set x = dict(a=x, b=x) %}" * 60 + "{{ x|tojson }}",
    "lists in lists, by fromkeys": "{% set x = 'x' %}" + "{% set x = dict.fromkeys(['a', 'b'], x) %}" * 60 + "{{ x }}",
    "a list added to itself": "{% set x = [1] %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    "slices of slices": ("{% set x = 'x' * 1900000 %}{% for i in range(99999) %}{% set y = x[:-1] %}{% endfor %}"),
    "comparisons of long texts": (
        "{% set x = 'x' * 1900000 %}{% set y = 'x' * 1900000 %}"
        "{% for i in range(99999) %}{% if x == y or 'ab' in x %}{% endif %}{% endfor %}"
    ),
    "searches in a long text": (
        "{% set x = 'x' * 1900000 %}{% for i in range(99999) %}{% if x.find('ab') > 0 %}{% endif %}{% endfor %}"
    ),
    "tests of long texts": (
        "{% set x = 'x' * 1900000 %}{% for i in range(99999) %}{{ 1 if x is lower }}{{ 1 if 'y' is in x }}{% endfor %}"
    ),
    "a power": "{{ 9 ** 99999999 }}",
    "a large number": "{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a width of format": "{{ '{:>10000000000}'.format(1) }}",
    "an inner width of format": "{{ '{:{}}'.format(1, 10000000000) }}",
    "a width of format_map": "{{ '{a:10000000000}'.format_map({'a': 1}) }}",
    "many fields of format": "{{ ('{0}' * 100000).format('x' * 1000000) }}",
    "a width of percent": "{{ '%10000000000d' % 1 }}",
    "a given width of percent": "{{ '%*d' % (10000000000, 1) }}",
    "a precision of percent": "{{ '%.10000000000f' % 1 }}",
    "many fields of percent": "{{ ('%(a)s' * 100000) % {'a': 'x' * 1000000} }}",
    "the filter format": "{{ '%10000000000d'|format(1) }}",
    "center": "{{ 'x'|center(10000000000) }}",
    "a centre": "{{ 'x'.center(10000000000) }}",
    "ljust": "{{ 'x'.ljust(10000000000) }}",
    "zfill": "{{ 'x'.zfill(10000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(10000000000) }}",
    "expandtabs by name": "{{ '\t'.expandtabs(tabsize=10000000000) }}",
    "replace": "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
    "replace nothing": "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
    "the filter replace": "{{ ('x' * 1000000)|replace('x', 'y' * 1000000) }}",
    "join": "{{ ('y' * 1000000).join('x' * 1000000) }}",
    "the filter join": "{{ ('x' * 1000000)|join('y' * 1000000) }}",
    "join of a generator": "{{ (range(99999)|map('string'))|join('y' * 1000000) }}",
    "a join of a generator": "{{ ('y' * 1000000).join(range(99999)|map('string')) }}",
    "indent": "{{ 'x'|indent(10000000000) }}",
    "indent by a text": "{{ ('\n' * 1000000)|indent('y' * 1000000) }}",
    "batch": "{{ [1]|batch(10000000000, 'x')|list }}",
    "slice": "{{ [1]|slice(10000000000, 'x')|list }}",
    "round": "{{ 1|round(10000000000, 'ceil') }}",
    "sum of lists": "{{ [[1], [2]]|sum(start=[]) }}",
    "map": "{{ range(99999)|map('string')|map('indent', 9999, true)|list }}",
    "map without end": "{% for i in range(99999) %}{{ range(99999)|map('upper')|list|last }}{% endfor %}",
    "tojson": "{{ [[1]]|tojson(indent=10000000000) }}",
    "tojson by a text": "{{ [[[1]]]|tojson(indent='y' * 100000) }}",
    "separators of tojson": "{{ [1, 2, 3]|tojson(separators=('y' * 100000, ':')) }}",
    "tojson of depth": (
        "{% set ns = namespace(x=[1]) %}{% for i in range(300) %}{% set ns.x = [ns.x, 1] %}{% endfor %}"
        "{% for i in range(9999) %}{% set y = ns.x|tojson(indent=100) %}{% endfor %}"
    ),
    "bytes": "{{ (1).to_bytes(10000000000) }}",
    "translate": "{{ ('x' * 1000).translate({120: 'y' * 1000000}) }}",
    "a range": "{{ range(10000000000)|list }}",
    "a filter without need": "{{ ('<!--' * 100000)|striptags }}",
    "lorem ipsum": "{{ lipsum(n=10000000000) }}",
    "a constant": "{% if 'x'|center(10000000000) %}{% endif %}",
    "a date": "{{ strftime_now('%c' * 100000) }}",
}

ODD: dict[str, str] = {
    "a call of itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "a long sum": "{{ " + "1 + " * 20000 + "1 }}",
    "a long list of not": "{{ " + "not " * 20000 + "1 }}",
    "nested blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "nested loops of Python": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "a very long template": "x" * 3_000_000,
    "a list in itself": "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns|tojson }}",
    "depth": (
        "{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}"
    ),
    "a zero": "{{ 1 // 0 }}",
    "a zero in a test": "{{ 1 if 4 is divisibleby(0) }}",
    "a large power of a float": "{{ 10.0 ** 1000 }}",
    "an integer of many digits": "{{ ('9' * 100000)|int + 1 }}{{ 10 ** 9000 }}",
    "an integer of many digits in the source": "{{ " + "9" * 9000 + " }}",
    "a key": "{{ {}['x'].y }}",
    "an index": "{{ [1][5].y }}",
    "no text": "{{ messages[0].content + 1 }}",
    "no function": "{{ messages() }}",
    "an import": "{% import 'x' as y %}",
    "an include": "{% include 'x' %}",
    "a parent": "{% extends 'x' %}",
    "a break out of a macro": "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "an exception": "{{ raise_exception() }}",
    "an exception of lines": "{{ raise_exception('one\ntwo' * 5000) }}",
    "half a surrogate": "{{ '\\ud800'.encode() }}",
    "a date's form": "{{ strftime_now(1) }}",
    "an end of the sort": "{{ [1, 'a']|sort }}",
    "a stop": "{{ (messages|map('nothing'))|list }}",
    "a generator at its end": "{{ ([]|map('upper')|first).x }}",
    "autoescape": "{% autoescape true %}{{ '<' ~ '<' }}{% endautoescape %}",
    "a type's attribute": "{{ ''['__class__'].mro() }}",
    "a function's globals": "{{ strftime_now.__globals__ }}{{ strftime_now.__globals__.x.y }}",
    "a private method": "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
}
