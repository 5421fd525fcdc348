"""
Which settings a command of ours reads, found in the source: for tests of what it has to be given.

From the command's function through every name that it mentions, across modules, to each mention of
a field of `Settings`. A class counts whole, so it says too much at times; a setting that is read
under its own name is never left out.
"""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from typer.main import get_command

from streams.cli import app
from streams.engine.serving import serve
from streams.roles import ROLES
from streams.settings import Settings

_OURS = ("schemas", "tables", "agents", "streams")
#: Addresses and places: what an installation has to name, because nobody can guess it.
NAMED = frozenset(
    name for name, field in Settings.model_fields.items() if field.default is None
) | {"kafka"}


class _Name(NamedTuple):
    """A definition at the top of a module; the module itself where it is empty."""

    module: str
    name: str = ""


@cache
def needed(words: tuple[str, ...]) -> frozenset[str]:
    """Return which of NAMED the command of these words reads."""
    left, seen, found = _begin(words), set[_Name](), set[str]()
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        module = _Module.of(each.module)
        found |= module.reads(each.name)
        left += module.mentions(each.name)
    return frozenset(found)


def _begin(words: Sequence[str]) -> list[_Name]:
    """Return what *words* run: the roles that a worker is given, or the command's function."""
    if words[0] == "worker":
        roles = words[words.index("--roles") + 1].split(",")
        made = [_Name(ROLES[role].__module__, ROLES[role].__name__) for role in roles]
        return [*made, _Name(serve.__module__, serve.__name__)]
    command: Any = get_command(app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    function = command.callback.__wrapped__
    return [_Name(function.__module__, function.__name__)]


class _Module:
    """The definitions of one module of ours, and what the names in it stand for."""

    def __init__(self, name: str, path: Path) -> None:
        tree = ast.parse(path.read_text())
        self._name = name
        self._parts: dict[str, list[ast.AST]] = {}
        for node in tree.body:
            for defined in _defined(node):
                self._parts.setdefault(defined, []).append(node)
        self._imported = dict(_imports(tree))

    @staticmethod
    @cache
    def of(name: str) -> "_Module":
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise AssertionError(name)
        return _Module(name, Path(spec.origin))

    def reads(self, name: str) -> set[str]:
        """Return the settings that a definition mentions."""
        return {
            node.attr
            for node in self._nodes(name)
            if isinstance(node, ast.Attribute) and node.attr in NAMED
        }

    def mentions(self, name: str) -> Iterator[_Name]:
        """Yield the definitions of ours that a definition mentions."""
        if name not in self._parts and name in self._imported:  # a package's own module tells it on
            yield self._imported[name]
        for node in self._nodes(name):
            match node:
                case ast.Name(id=said) if said in self._imported:
                    yield self._imported[said]
                case ast.Name(id=said) if said in self._parts:
                    yield _Name(self._name, said)
                case ast.Attribute(value=ast.Name(id=said), attr=attr) if (
                    said in self._imported and not self._imported[said].name
                ):
                    yield _Name(self._imported[said].module, attr)

    def _nodes(self, name: str) -> Iterator[ast.AST]:
        return chain.from_iterable(map(ast.walk, self._parts.get(name, ())))


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for each in chain.from_iterable(map(ast.walk, targets)):
                if isinstance(each, ast.Name):
                    yield each.id


def _imports(tree: ast.Module) -> Iterator[tuple[str, _Name]]:
    """Yield what each import of ours brings, those in functions too."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in _OURS:
                for each in names:
                    inner = f"{module}.{each.name}"
                    yield (
                        each.asname or each.name,
                        (_Name(inner) if _is_module(module, inner) else _Name(module, each.name)),
                    )
            case ast.Import(names=names):
                for each in names:
                    assert each.name.split(".")[0] not in _OURS, "written as `from … import` here"


@cache
def _is_module(package: str, name: str) -> bool:
    found = find_spec(package)
    is_package = found is not None and found.submodule_search_locations is not None
    return is_package and find_spec(name) is not None
