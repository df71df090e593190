"""The rooms of `clipn/` and `flows/`: what each is for, what it may import, and what the code really imports.

`tests/test_rooms.py` compares the two, `tools/draw_architecture.py` draws the second, and
`docs/architecture.md` shows the first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import networkx as nx

ROOT = Path(__file__).resolve().parent.parent

Kind = Literal["module", "function", "typing"]
"""Where an import stands: it runs with the module, inside of a function, or only for the type checker."""


@dataclass(frozen=True)
class Room:
    """A package or module directly below `clipn/` or `flows/`.

    `imports` names what it may import: a room (`features`), one module of a room (`features.rows`), or what a room or
    the package offers in its own `__init__` (`stages.__init__`, `__init__`).
    """

    purpose: str
    imports: tuple[str, ...] = ()

    def may_import(self, path: str) -> bool:
        """Return whether `path`, a module without the name of its package, is allowed."""
        return any(within(path, allowed) or allowed == f"{path}.__init__".lstrip(".") for allowed in self.imports)


GROUND = ("errors", "paths", "utils", "config")
"""Rooms of `clipn/` that every room may import, apart from one another."""

CLIPN: dict[str, Room] = {
    "cli": Room(
        "the commands: parse, call the library, print",
        (
            *("report", "project", "detector", "evaluation", "training", "hub", "prompts", "scores", "features"),
            *("models", "data", "metrics", "losses", "optim", *GROUND, "__init__"),
        ),
    ),
    "report": Room(
        "the table, the plots and the page, from what the stages measured",
        ("evaluation", "scores", "metrics", "data", *GROUND),
    ),
    "project": Room(
        "`params.yaml`, profiles, and checks before a run",
        ("prompts", "scores", "models", "data", *GROUND),
    ),
    "detector": Room(
        "a trained model with classes and a threshold, for images of one's own",
        ("evaluation", "prompts", "scores", "features", "models", *GROUND),
    ),
    "evaluation": Room(
        "scores on benchmarks, duplicates, moved images, corruptions, the gate",
        ("prompts", "scores", "metrics", "features", "models", "data", *GROUND),
    ),
    "training": Room(
        'the "No" text encoder, and the small CLIP of the miniature world',
        ("prompts", "scores", "metrics", "features", "models", "data", "losses", "optim", *GROUND),
    ),
    "hub": Room("checkpoints from elsewhere", ("prompts", "models", *GROUND)),
    "prompts": Room(
        "sentences around class names, word lists, and their text features",
        ("scores", "features", "models", *GROUND),
    ),
    "scores": Room("one file a method, as its paper calls it", ("features.rows", "features.nearest", "optim", *GROUND)),
    "features": Room("from images to cached features, and looking them up", ("models", "data", *GROUND)),
    "models": Room('the frozen CLIP, its two towers, and the "No" text encoder', GROUND),
    "data": Room("captions, downloads, image sets, tars, manifests, the miniature world", GROUND),
    "metrics": Room("AUROC, FPR95, their intervals and tests, calibration", GROUND),
    "losses": Room("the losses of CLIPN", ("errors",)),
    "optim": Room("learning rate and optimizer", ("errors",)),
    "config": Room("what parameters there are, and which values are possible", ("errors",)),
    "utils": Room("files, threads, processes, progress, fetching: nothing of the field", ("errors",)),
    "paths": Room("where each stage's files lie"),
    "errors": Room("the mistakes that have a message instead of a traceback"),
}
"""Room of `clipn/` → what it is for and which other rooms it may import, from the top down."""

FLOWS: dict[str, Room] = {
    "ui": Room("`make ui`: Prefect's server, workers, deployments", ("runtime",)),
    "retrain": Room("`python -m flows.retrain`: retrain once, here", ("deployments",)),
    "deployments": Room(
        "what the Prefect UI offers: retraining, evaluating a model", ("evaluation", "runtime", "repro")
    ),
    "repro": Room("`make repro`: check, run DVC, print the result", ("runtime",)),
    "stages": Room("one thin flow a stage of `dvc.yaml`", ("evaluation", "training", "features", "ray", "runtime")),
    "evaluation": Room("what the stages that score share", ("runtime",)),
    "training": Room("the processes that train, and watching them", ("ray", "runtime")),
    "features": Room("shards of features as Prefect tasks", ("ray", "runtime")),
    "ray": Room("a Ray cluster: joining it, downloading on it", ("runtime",)),
    "runtime": Room("how a stage runs: companion, server, processes, another machine", ("stages.__init__",)),
}
"""The same for `flows/`, which may import all of `clipn/`."""

ORCHESTRATORS = ("flows", "prefect", "dvc", "dvclive", "ray")
"""What `clipn/` never imports."""

SLOW = ("torch", "torchvision", "open_clip", "timm", "safetensors.torch")
"""What no `__init__` of a package in `clipn/` may bring in: torch takes seconds to import."""


@dataclass(frozen=True)
class Import:
    """One import statement of a module, resolved."""

    importer: str
    imported: str
    file: Path
    line: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported}"


def modules(root: Path, package: str) -> dict[str, Path]:
    """Return dotted name → file, relative to `root`, of every module of a package."""
    files = {}
    for file in sorted((root / package).rglob("*.py")):
        relative = file.relative_to(root)
        parts = relative.parent.parts if relative.name == "__init__.py" else relative.with_suffix("").parts
        files[".".join(parts)] = relative
    return files


def imports(root: Path, names: Mapping[str, Path]) -> list[Import]:
    """Return every import of every module, in whatever function or `TYPE_CHECKING` block it stands.

    `from package import name` counts as an import of the module `package.name` if there is one, else of the
    package. That importing a module runs the packages above it as well is left out.

    Args:
        root: the folder in which the packages lie.
        names: what `modules` returned, of one package or of several.
    """
    return [
        Import(name, target, file, line, kind)
        for name, file in names.items()
        for target, line, kind in _statements(name, root / file, names)
    ]


def _statements(name: str, file: Path, names: Mapping[str, Path]) -> Iterator[tuple[str, int, Kind]]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node, kind in _walk(ast.parse(file.read_text(encoding="utf-8"), str(file)).body, "module"):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, kind) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield (deeper if deeper in names or deeper in SLOW else base), node.lineno, kind


def _walk(nodes: Iterable[ast.AST], kind: Kind) -> Iterator[tuple[ast.AST, Kind]]:
    for node in nodes:
        yield node, kind
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner: Kind = "typing" if kind == "typing" else "function"
            yield from _walk(ast.iter_child_nodes(node), inner)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _walk(node.body, "typing")
            yield from _walk(node.orelse, kind)
        else:
            yield from _walk(ast.iter_child_nodes(node), kind)


def path(module: str) -> str:
    """Return the name of a module without that of its package: `features.rows` for `clipn.features.rows`."""
    return module.partition(".")[2]


def room(module: str) -> str:
    """Return the room of a module: the second word of its name, or "" for the package itself."""
    return path(module).partition(".")[0]


def arrows(statements: Iterable[Import], package: str) -> dict[tuple[str, str], list[Import]]:
    """Return (room, room) → the imports between them, without those inside a room and those of `package` itself."""
    between: dict[tuple[str, str], list[Import]] = {}
    for each in statements:
        if within(each.importer, package) and within(each.imported, package) and room(each.importer):
            ends = (room(each.importer), room(each.imported))
            if ends[0] != ends[1]:
                between.setdefault(ends, []).append(each)
    return between


def forbidden(statements: Iterable[Import], package: str, table: Mapping[str, Room]) -> list[Import]:
    """Return the imports between rooms that the table does not allow. `__main__` may import everything."""
    return [
        each
        for (importer, _), between in arrows(statements, package).items()
        if importer != "__main__"
        for each in between
        if not (importer in table and table[importer].may_import(path(each.imported)))
    ]


def circles(statements: Iterable[Import]) -> list[list[str]]:
    """Return the groups of modules that import one another, directly or on a way round; [] where there is none."""
    graph = nx.DiGraph((each.importer, each.imported) for each in statements)
    return sorted(
        sorted(group)
        for group in nx.strongly_connected_components(graph)
        if len(group) > 1 or any(graph.has_edge(name, name) for name in group)
    )


def reaching(statements: Sequence[Import], start: str, targets: Sequence[str]) -> list[str] | None:
    """Return the chain of modules by which importing `start` imports one of `targets`; None if it does not.

    Only imports that run with their module count, and the packages above each imported module.
    """
    graph = nx.DiGraph()
    graph.add_node(start)
    for each in statements:
        if each.kind == "module":
            for name in (each.imported, *_above(each.imported)):
                graph.add_edge(each.importer, name)
    ends = [name for name in graph if any(within(name, target) for target in targets)]
    chains = [nx.shortest_path(graph, start, end) for end in ends if nx.has_path(graph, start, end)]
    return min(chains, key=len, default=None)


def _above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def within(module: str, package: str) -> bool:
    """Return whether a module is `package` or lies in it."""
    return module == package or module.startswith(f"{package}.")


def entries(folder: Path) -> list[str]:
    """Return what `ls` of a package shows, without caches."""
    return sorted(
        each.name for each in folder.iterdir() if each.name != "__pycache__" and not each.name.startswith(".")
    )
