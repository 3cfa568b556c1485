"""The Jinja environment of chat templates: what Transformers adds to Jinja, and a meter in every operation."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from gptsmith.text.template_guards import FILTERS, MAX_WIDTH, filter_size, method_size, percent_size, to_json
from gptsmith.text.template_meter import MAX_INTEGER_BITS, NODE, Meter, TemplateLimitError, is_iterator

CALL = 4 * NODE
"""A call's price in units."""
METER: ContextVar[Meter] = ContextVar("meter")
COMPARISONS = frozenset(
    ["==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge", "<", "lt", "lessthan", "<=", "le", "in"]
)


class GenerationTag(Extension):
    """`{% generation %} ... {% endgeneration %}`, which marks the tokens of the assistant: its content is written."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Macro) -> str:
        return caller()


class TemplateNamespace(Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # as Jinja's, so that self= is a name
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _refuse_private(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        # Without what it holds, which may hold it.
        return "<Namespace>"


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace keeps no names that begin with an underscore, such as {name!r}")


class TemplateDict:
    """`dict`, with none of the type's other attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


def raise_exception(message: object) -> None:
    """
    Raises:
        TemplateError: always.
    """
    raise TemplateError(str(message))


def strftime_now(form: str) -> str:
    """The local time, in `strftime`'s form."""
    if len(form) > MAX_WIDTH:
        raise TemplateLimitError(f"it writes the date in a form of more than {MAX_WIDTH:,} characters")
    return datetime.datetime.now().strftime(form)


class MeteredCode(CodeGenerator):
    """Python code of a template whose every operation goes past the meter."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible  # nothing is computed while a template is read
        return super()._output_child_to_const(node, frame, finalize)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("environment.finalize(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        self.write("(environment.count(")
        self.visit(node.expr, frame)
        self.write(")")
        for operand in node.ops:
            self.visit(operand, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802
        self.write(f" {operators[node.op]} environment.count(")
        self.visit(node.expr, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._counted(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._counted(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._counted(super().visit_Dict, node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.arg, nodes.Slice):
            self._counted(super().visit_Getitem, node, frame)
        else:
            super().visit_Getitem(node, frame)

    def _counted(self, visit: Callable[..., None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.count(")
        visit(node, frame)
        self.write(")")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which no operation makes more, or works for longer, than its rendering's meter allows."""

    code_generator_class = MeteredCode
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols], optimized=False,
            finalize=self.written,
        )  # fmt: skip
        self.filters = {name: _metered_filter(name, self.filters[name]) for name in FILTERS}
        self.filters["tojson"] = _to_json
        self.tests = {name: _metered_test(name, test) for name, test in self.tests.items()}
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": raise_exception,
            "strftime_now": strftime_now,
            "dict": TemplateDict(),
            "namespace": TemplateNamespace,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if tree.find(nodes.ScopedEvalContextModifier) is not None:
            raise TemplateError("a chat template writes text, for which there is no autoescape")
        for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            count = "step()" if isinstance(node, nodes.For) else "enter()"
            node.body.insert(0, nodes.ExprStmt(nodes.EnvironmentAttribute(count)))  # type: ignore[attr-defined]
        return tree

    def step(self) -> None:
        """Counts a step of a loop."""
        METER.get().spend(0)

    def enter(self) -> None:
        """Counts a call of a macro."""
        METER.get().spend(CALL)

    def count(self, value: Any) -> Any:
        """A value that was made, counted."""
        return METER.get().count(value)

    def written(self, value: Any) -> Any:
        """A value that is written, as text."""
        text = value if isinstance(value, str) else str(value)
        METER.get().spend(len(text))
        return text

    def concat(self, parts: Iterable[str]) -> str:
        """The parts as one text."""
        meter, total, kept = METER.get(), 0, []
        for part in parts:
            total += len(part)
            meter.require(total)
            kept.append(part)
        meter.spend(total)
        return "".join(kept)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = METER.get()
        if operator == "%" and isinstance(left, str):
            meter.require(percent_size(left, right, meter.size))
        elif operator == "*":
            meter.require(_product_size(left, right, meter.size))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MAX_INTEGER_BITS:
                raise TemplateLimitError(f"it makes a number of more than {MAX_INTEGER_BITS:,} bits")
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            meter.require(len(left) + len(right))
        return meter.count(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  # as Jinja's
        meter = METER.get()
        meter.spend(CALL)
        method = getattr(__obj, "__wrapped__", __obj) if callable(__obj) else __obj
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | int | float | list | tuple | dict | bytes):
            args = tuple(list(one) if is_iterator(one) else one for one in args)
            size = method_size(owner, method.__name__, args, kwargs, meter.size)
            meter.require(size)
            meter.spend(size)
        elif not __self._is_known(__obj, owner):
            raise SecurityError(f"a chat template may not call a {type(__obj).__name__}")
        return meter.count(super().call(__context, __obj, *args, **kwargs))

    def _is_known(self, function: Any, owner: Any) -> bool:
        """Whether a template may call it: a macro, a part of Jinja's, or one of our functions."""
        if isinstance(function, Macro | LoopContext | BlockReference | Cycler | Joiner | Undefined):
            return True
        if isinstance(owner, LoopContext | Cycler | TemplateDict | GenerationTag):
            return True
        return any(function is known for known in self.globals.values())


def _product_size(left: Any, right: Any, size: Callable[[Any], int]) -> int:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple | bytes):
            return size(value) * times if isinstance(times, int) else 0
    return 0


def _metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        meter = METER.get()
        value, rest = args[at], args[at + 1 :]
        if name == "join" and is_iterator(value):
            value = list(value)
        meter.spend(len(value) if isinstance(value, str) else 0)
        meter.require(filter_size(name, value, rest, kwargs, meter.size))
        return meter.count(function(*args[:at], value, *rest, **kwargs))

    return metered


def _metered_test(name: str, function: Any) -> Callable[..., Any]:
    @wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        meter = METER.get()
        meter.spend(sum(meter.size(one) for one in args if name in COMPARISONS or isinstance(one, str)))
        return function(*args, **kwargs)

    return metered


def _to_json(value: Any, *args: Any, **kwargs: Any) -> Any:
    meter = METER.get()
    meter.spend(meter.size(value))
    return meter.count(to_json(value, *args, **kwargs, require=meter.require))


@cache
def template_environment() -> TemplateEnvironment:
    """The environment, which keeps nothing of what it renders."""
    return TemplateEnvironment()


def render(template: Any, given: Mapping[str, Any]) -> str:
    """The text of a template of this environment.

    Raises:
        Exception: whatever a template can raise; `TemplateLimitError` where it does or makes too much.
    """
    token = METER.set(Meter(given))
    try:
        return str(template.render(given))
    finally:
        METER.reset(token)
