"""Which parameters a flow reads, found in its source."""

from __future__ import annotations

import ast
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from clipn.config import Params
from tests.conftest import ROOT
from tests.imports import path_of

Key = tuple[str, ...]
Names = Mapping[str, Key]
"""Local variable → the part of the parameters that it holds."""


def used(path: Path) -> set[str]:
    """Return the parameters that the flow `run` of a file reads, such as `train.epochs`; whole sections as their name.

    Functions of `flows/` that are given all parameters or a section are followed. Functions of the library are not: a
    section that is handed to one counts as a whole, and all parameters are handed to none but `report.build`.
    """
    return {".".join(key) for key in _of_function(path, "run", {})}


def used_in_package(folder: Path) -> set[str]:
    """Return the parameters that the modules of a package read of a variable or an attribute called `params`."""
    keys: set[Key] = set()
    for path in sorted((ROOT / folder).rglob("*.py")):
        reader = _Reader(path, ast.Module([], []), {"params": (), "self.params": ()}, whole=True)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        keys |= reader.keys
    return {".".join(key) for key in keys}


def leaves(key: str) -> set[str]:
    """Return the parameters below a section, or the parameter itself; what is in a mapping is one leaf."""
    of_type = _type_of(tuple(key.split(".")))
    if not is_dataclass(of_type):
        return {key}
    return {leaf for field in fields(of_type) for leaf in leaves(f"{key}.{field.name}")}


def _type_of(key: Key) -> Any:
    of_type: Any = Params
    for part in key:
        of_type = typing.get_type_hints(of_type)[part] if is_dataclass(of_type) else None
    return of_type


def _of_function(path: Path, name: str, arguments: Names) -> set[Key]:
    """Return the parameters that a function reads, given what its arguments hold."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    reader = _Reader(path, tree, dict(arguments))
    function = _function(tree, name)
    assert function is not None, f"{path} has no function {name}"
    for statement in function.body:
        reader.visit(statement)
    return reader.keys


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The function or method of this name; of `Class.method` the method."""
    name = name.rpartition(".")[2]
    return next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name), None)


class _Reader(ast.NodeVisitor):
    """Collects what statements read, in their order."""

    def __init__(self, path: Path, tree: ast.Module, names: dict[str, Key], whole: bool = False) -> None:
        self._path, self._tree, self._names, self._whole = path, tree, names, whole
        self.keys: set[Key] = set()

    def visit_Assign(self, node: ast.Assign) -> None:
        for target, value in _pairs(node.targets[0], node.value):
            key = _key(value, self._names)
            if key is not None and isinstance(target, ast.Name):
                self._names[target.id] = key  # what becomes of it is seen where it is read
            else:
                self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node) == "report.build(params)":
            return  # `used_in_package` reads the report
        home = _home(self._path, self._tree, node.func)
        places = [*enumerate(node.args), *((keyword.arg, keyword.value) for keyword in node.keywords)]
        holds = {place: key for place, value in places if (key := _key(value, self._names)) is not None}
        function = home and _function(ast.parse((ROOT / home[0]).read_text(encoding="utf-8")), home[1])
        if not home or not function or not holds:
            self.generic_visit(node)
            return
        arguments = [argument.arg for argument in function.args.args if argument.arg not in ("cls", "self")]
        names = {arguments[place] if isinstance(place, int) else str(place): key for place, key in holds.items()}
        self.keys |= _of_function(home[0], home[1], names)
        for place, value in places:
            if place not in holds:
                self.visit(value)

    def generic_visit(self, node: ast.AST) -> None:
        key = _key(node, self._names)
        if key is None:
            super().generic_visit(node)
        elif key:
            self.keys.add(key)
        elif not self._whole:
            line = getattr(node, "lineno", 0)
            raise AssertionError(f"{self._path}, line {line}: all parameters are handed to a function of the library")


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _key(node: ast.AST, known: Names) -> Key | None:
    """The part of the parameters that an expression is; None if it is something else."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "read_params":
        return ()
    if isinstance(node, ast.Attribute) and ast.unparse(node) in known:
        return known[ast.unparse(node)]
    if isinstance(node, ast.Attribute):
        key = _key(node.value, known)
        if key is not None:
            of_type = _type_of(key)
            is_field = is_dataclass(of_type) and node.attr in {field.name for field in fields(of_type)}
            return (*key, node.attr) if is_field else key
    return None


def _home(path: Path, tree: ast.Module, called: ast.expr) -> tuple[Path, str] | None:
    """File and name of a called function, if it is one of `flows/`."""
    text = ast.unparse(called)
    first, _, rest = text.partition(".")
    if not rest and any(isinstance(node, ast.FunctionDef) and node.name == first for node in tree.body):
        return path, first
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "flows":
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    module = path_of(f"{node.module}.{alias.name}")
                    if module is not None:
                        return module, rest
                    home = path_of(node.module)
                    assert home is not None
                    return (home, rest or first) if first != "stage" else None
    return None
