"""Imports go down the floors of the house, and light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "gptsmith"
FLOORS = [
    {"base"},
    {"store"},
    {"text", "pages"},
    {"data"},
    {"model", "retrieval"},
    {"run"},
    {"generate"},
    {"convert"},
    {"evaluate"},
    {"train"},
    {"provenance", "cluster"},
    {"compress", "explain", "privacy"},
    {"workflows"},
    {"serve"},
    {"commands"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NO_TORCH = {"base", "store", "text", "pages", "data", "retrieval"}


def imports(source: str) -> Iterator[str]:
    """Every module that a source imports, at any depth, but for type checkers."""

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                yield from walk(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "gptsmith")
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return walk(ast.parse(source))


def violations(room: str, source: str) -> list[str]:
    """What a source in `room` imports and may not."""
    found = []
    for name in imports(source):
        parts = name.split(".")
        other = parts[1] if parts[0] == "gptsmith" and len(parts) > 1 else None
        if other in FLOOR_OF and other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
            found.append(name)
        if room in NO_TORCH and parts[0] == "torch":
            found.append(name)
        if parts[0] == "":  # a relative import would hide its room
            found.append(name)
    return found


SOURCES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in FLOOR_OF
)


def test_imports_go_down() -> None:
    found = {
        str(path.relative_to(PACKAGE)): violations(
            path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path.read_text(encoding="utf-8")
        )
        for path in SOURCES
    }
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@cache
def import_graph(package: Path) -> dict[str, set[str]]:
    """Which module of a package imports which others of it: at any depth, also for type checkers alone."""
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                names.update(full if full in modules else node.module for full in inner.values())
        graph[module] = {name for name in names if name in modules and name != module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(graph):
        if module not in order:
            visit(module)
    return found


def test_imports_do_not_go_round() -> None:
    assert circles(import_graph(PACKAGE)) == []


def test_a_circle_is_found_however_it_is_hidden(tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    for name, source in {
        "__init__": "",
        "a": "if TYPE_CHECKING:\n    from house import b",
        "b": "def f():\n    import house.c",
        "c": "from house.a import x",
        "d": "from house.a import x",
    }.items():
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    assert circles(import_graph(package)) == [["house.a", "house.b", "house.c"]]


def test_every_room_has_a_floor() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= FLOOR_OF.keys()


FACES = ("openai", "anthropic", "ollama")
"""The APIs of the server, none of which is made of another."""


def test_no_api_of_the_server_is_made_of_another() -> None:
    graph = import_graph(PACKAGE)

    def imported(room: str) -> set[str]:
        """What the modules of a room of the server import of other rooms of it, by their names."""
        inside = f"gptsmith.serve.{room}."
        names = {name for module in graph if f"{module}.".startswith(inside) for name in graph[module]}
        return {name.split(".")[2] for name in names if name.startswith("gptsmith.serve.")} - {room}

    for room in (*FACES, "chat"):
        assert not imported(room) & set(FACES), room
    assert all("chat" in imported(face) for face in FACES)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("generate", "from gptsmith.convert.load import load"),
        ("evaluate", "import gptsmith.train.loop"),
        ("base", "def f():\n    import gptsmith.model.gpt"),
        ("data", "import torch"),
        ("data", "def f():\n    from torch import nn"),
        ("text", "import gptsmith.pages"),
        ("model", "from gptsmith import workflows"),
        ("model", "from ..run import store"),
        ("workflows", "import gptsmith.serve.server as server"),
        ("commands", "try:\n    import gptsmith.cli\nexcept ImportError:\n    pass"),
        ("base", "if not TYPE_CHECKING:\n    import gptsmith.model"),
        ("base", "if TYPE_CHECKING:\n    pass\nelse:\n    import gptsmith.model"),
    ],
)
def test_an_import_that_goes_up_is_found(room: str, source: str) -> None:
    assert violations(room, source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("model", "import torch\nimport gptsmith.data.windows, gptsmith.model.gpt"),
        ("base", "if TYPE_CHECKING:\n    from gptsmith.model.gpt import GPT"),
        ("commands", "from gptsmith.workflows import pretrain\nfrom gptsmith.version import __version__"),
        ("data", "import torchless"),
    ],
)
def test_an_import_that_goes_down_is_fine(room: str, source: str) -> None:
    assert violations(room, source) == []


@pytest.mark.parametrize(
    "code",
    [
        "import gptsmith",
        "import gptsmith.cli, sys\nsys.argv = ['x', '--help']\ntry: gptsmith.cli.main()\nexcept SystemExit: pass",
        "from gptsmith.cli import *\nfor verb in VERBS: import_module(f'gptsmith.commands.{MODULES.get(verb, verb)}')",
        "import gptsmith.run.checkpoint, gptsmith.data.prepare, gptsmith.text.tokenizer, gptsmith.text.tokenizers",
    ],
)
def test_no_torch_is_imported(code: str) -> None:
    check = f"{code}\nimport sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_a_run_in_a_folder_imports_nothing_of_stores_and_clusters(tmp_path: Path) -> None:
    text, run = tmp_path / "words.txt", tmp_path / "run"
    text.write_text("\n\n".join(f"Word {number} of many." for number in range(300)), encoding="utf-8")
    code = (
        "import gptsmith, sys\n"
        "settings = ['model.embed_dim=16', 'model.num_layers=1', 'model.context_length=16', 'train.device=cpu']\n"
        "gptsmith.pretrain([sys.argv[1]], out=sys.argv[2], max_steps=1, settings=settings)\n"
        "gptsmith.generate(sys.argv[2], 'a', max_tokens=1)\n"
        "gptsmith.runs(sys.argv[2] + '/..')\n"
        "print(sys.modules.keys() & {'fsspec', 's3fs', 'gcsfs', 'botocore', 'ray', 'datatrove'})\n"
    )
    command = [sys.executable, "-c", code, str(text), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
