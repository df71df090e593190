"""No import of `clipn/` or `flows/` goes against the table of rooms in `tools/rooms.py`.

import-linter and grimp could read the imports, too. The table would then be contracts in another file, in
a language of layers that cannot say which room may import which; the reading itself is forty lines of `ast`,
and networkx, which finds circles and chains, is installed anyway.
"""

import sys
from pathlib import Path

import pytest

from tools import rooms

MODULES = {**rooms.modules(rooms.ROOT, "clipn"), **rooms.modules(rooms.ROOT, "flows")}
IMPORTS = rooms.imports(rooms.ROOT, MODULES)
PACKAGES = [name for name, file in MODULES.items() if file.name == "__init__.py" and rooms.within(name, "clipn")]
TABLES = [("clipn", rooms.CLIPN), ("flows", rooms.FLOWS)]


def lines(imports: list[rooms.Import]) -> str:
    return "\n".join(map(str, imports))


def of_package(name: str) -> list[rooms.Import]:
    return [each for each in IMPORTS if rooms.within(each.importer, name)]


@pytest.mark.parametrize(("package", "table"), TABLES)
def test_no_room_imports_what_the_table_does_not_allow(package: str, table: dict[str, rooms.Room]) -> None:
    assert not (against := rooms.forbidden(IMPORTS, package, table)), lines(against)


@pytest.mark.parametrize(("package", "table"), TABLES)
def test_every_room_is_in_the_table(package: str, table: dict[str, rooms.Room]) -> None:
    standing = {rooms.room(name) for name in MODULES if rooms.within(name, package)} - {"", "__main__"}
    assert standing == set(table)


@pytest.mark.parametrize(("package", "table"), TABLES)
def test_rooms_in_the_table_import_downwards_only(package: str, table: dict[str, rooms.Room]) -> None:
    """So two rooms of `clipn/` cannot need each other. In `flows/` the runtime may ask for the names of the stages."""
    order = list(table)
    upwards = {
        (name, allowed)
        for name, room in table.items()
        for allowed in room.imports
        if allowed != "__init__"
        if order.index(allowed.partition(".")[0]) <= order.index(name)
    }
    assert upwards == ({("runtime", "stages.__init__")} if package == "flows" else set())


def test_no_modules_import_one_another() -> None:
    assert rooms.circles(IMPORTS) == []


def test_the_library_knows_no_orchestrator() -> None:
    against = [
        each for each in of_package("clipn") if any(rooms.within(each.imported, name) for name in rooms.ORCHESTRATORS)
    ]
    assert not against, lines(against)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_come_without_torch(package: str) -> None:
    assert rooms.reaching(IMPORTS, package, rooms.SLOW) is None


def test_config_imports_pydantic_and_nothing_else() -> None:
    words = {each.imported.partition(".")[0] for each in of_package("clipn.config")}
    assert words - sys.stdlib_module_names == {"clipn", "pydantic"}  # of clipn itself, the table allows `errors`


@pytest.mark.parametrize(("package", "most"), [("clipn", 28), ("flows", 13)])
def test_a_package_is_seen_at_a_glance(package: str, most: int) -> None:
    assert len(rooms.entries(rooms.ROOT / package)) <= most


# The checks themselves, on a small package.

TABLE = {"top": rooms.Room("", ("bottom.open",)), "bottom": rooms.Room(""), "side": rooms.Room("", ("top", "bottom"))}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, text in {
        "small/__init__.py": "",
        "small/top.py": "import json\nfrom small.bottom import open\n",
        "small/side/__init__.py": "def late():\n    from ..bottom import closed\n",
        "small/bottom/__init__.py": "",
        "small/bottom/open.py": "import small.bottom.closed\n",
        "small/bottom/closed.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def read(root: Path) -> list[rooms.Import]:
    return rooms.imports(root, rooms.modules(root, "small"))


def test_imports_are_resolved(small: Path) -> None:
    assert [str(each) for each in read(small)] == [
        "small/bottom/open.py:1: small.bottom.open imports small.bottom.closed",
        "small/side/__init__.py:2: small.side imports small.bottom.closed",
        "small/top.py:1: small.top imports json",
        "small/top.py:2: small.top imports small.bottom.open",
    ]
    assert rooms.forbidden(read(small), "small", TABLE) == []
    assert rooms.circles(read(small)) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("bottom/open.py", "from small.top import json"),
        ("bottom/open.py", "import small.top as up"),
        ("bottom/open.py", "from ..top import json"),
        ("bottom/open.py", "from .. import top"),
        ("bottom/__init__.py", "from .. import top"),
        ("bottom/open.py", "class A:\n    def late(self):\n        if True:\n            import small.top"),
        ("bottom/open.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from small import top"),
        ("top.py", "from small.bottom import closed"),
        ("top.py", "from small.bottom import anything"),
        ("new.py", "import small.top"),
    ],
)
def test_a_forbidden_arrow_is_seen_wherever_it_stands(small: Path, file: str, text: str) -> None:
    (small / "small" / file).write_text(text)
    against = rooms.forbidden(read(small), "small", TABLE)
    assert [each.file for each in against] == [Path("small") / file]


def test_what_a_room_offers_in_its_init_can_be_allowed_alone(small: Path) -> None:
    table = {**TABLE, "top": rooms.Room("", ("bottom.__init__",))}
    (small / "small/top.py").write_text("from small.bottom import anything\nfrom small.bottom import closed")
    assert [each.line for each in rooms.forbidden(read(small), "small", table)] == [2]


def test_the_package_itself_is_for_those_who_may_import_its_init(small: Path) -> None:
    (small / "small/top.py").write_text("from small import anything")
    assert [each.imported for each in rooms.forbidden(read(small), "small", TABLE)] == ["small"]
    table = {**TABLE, "top": rooms.Room("", ("__init__",))}
    assert rooms.forbidden(read(small), "small", table) == []


def test_circles_are_seen(small: Path) -> None:
    (small / "small/bottom/closed.py").write_text("def late():\n    from small.side import late")
    (small / "small/side/__init__.py").write_text("import small.top")
    (small / "small/new.py").write_text("import small.new")
    assert rooms.circles(read(small)) == [
        ["small.bottom.closed", "small.bottom.open", "small.side", "small.top"],
        ["small.new"],
    ]


def test_a_package_that_brings_torch_in_is_seen_by_the_way_it_takes(small: Path) -> None:
    assert rooms.reaching(read(small), "small.bottom", rooms.SLOW) is None
    (small / "small/bottom/closed.py").write_text("def late():\n    import torch")
    (small / "small/bottom/__init__.py").write_text("from small.bottom import closed")
    assert rooms.reaching(read(small), "small.bottom", rooms.SLOW) is None
    (small / "small/bottom/closed.py").write_text("from safetensors import torch")
    assert rooms.reaching(read(small), "small.bottom", rooms.SLOW) == [
        *("small.bottom", "small.bottom.closed", "safetensors.torch")
    ]
    # Importing a module runs the packages above it as well.
    (small / "small/side/__init__.py").write_text("import small.bottom.open")
    assert rooms.reaching(read(small), "small.side", ["safetensors.torch"]) is not None


def test_entries_are_what_one_sees(small: Path) -> None:
    (small / "small/__pycache__").mkdir()
    (small / "small/.hidden").touch()
    assert rooms.entries(small / "small") == ["__init__.py", "bottom", "side", "top.py"]
