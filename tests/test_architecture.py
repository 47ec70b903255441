"""The architecture: imports run one way, as the map of the house in ``comet/__init__.py`` says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import comet


ROOT = Path(comet.__file__).parent
FILES = {
    ".".join(("comet", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(ROOT.rglob("*.py"))
}

#: The rooms, from the top down: the names that the map explains.
MAP = [
    name for names in re.findall(r"(``\w+``(?:, ``\w+``)*):", comet.__doc__ or "") for name in re.findall(r"\w+", names)
]

#: Inner rooms take plain keyword arguments.
INNER = {"streams", "controller", "frames", "cohorts", "peers", "triggers", "brokers", "breath", "core"}

#: What Flask brings along, under the names that it is imported by.
BROUGHT_ALONG = {"werkzeug", "jinja2", "markupsafe", "itsdangerous"}


def imports(module: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, by its full name."""
    file = FILES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # "from . import timer" imports a module, "from .core.log import Log" a name in one.
            names = {f"{base}.{alias.name}" for alias in node.names}
            yield from sorted(names & FILES.keys())
            if not names <= FILES.keys():
                yield base


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


EDGES = [
    (module, imported) for module in FILES if module != "comet" for imported in imports(module) if imported in FILES
]


def test_every_room_is_on_the_map() -> None:
    """Each file and folder of the package, once; and the map names no other."""
    assert sorted(MAP) == sorted({room(module) for module in FILES} - {"comet"})


def test_imports_run_one_way() -> None:
    """A room imports only rooms that stand after it on the map; the package itself only gives its version."""
    wrong = [
        f"{module} imports {imported}"
        for module, imported in EDGES
        if room(module) != room(imported)
        and imported != "comet"
        and MAP.index(room(module)) > MAP.index(room(imported))
    ]
    assert wrong == []
    assert {module for module, imported in EDGES if imported == "comet"} <= {
        "comet.cli",
        "comet.metrics",
        "comet.status",
        "comet.views.openapi",
    }


def test_no_file_imports_itself_in_a_circle() -> None:
    """Within a room, too."""
    after = defaultdict(set)
    for module, imported in EDGES:
        after[module].add(imported)

    def reaches(module: str, goal: str, seen: set[str]) -> bool:
        for imported in after[module] - seen:
            seen.add(imported)
            if imported == goal or reaches(imported, goal, seen):
                return True
        return False

    # A package's own file is the seam, and may be imported by its parts: those it imports itself must not.
    assert [module for module in FILES if reaches(module, module, set())] == []


@pytest.mark.parametrize("module", sorted(module for module in FILES if room(module) == "core"))
def test_the_core_is_pure(module: str) -> None:
    """It imports the core and the standard library, and of that nothing that does I/O, waits or knows the time."""
    forbidden = {
        "socket",
        "ssl",
        "select",
        "threading",
        "time",
        "datetime",
        "os",
        "io",
        "subprocess",
        "asyncio",
        "random",
    }
    for imported in imports(module):
        top = imported.partition(".")[0]
        assert imported.startswith("comet.core") or (top in sys.stdlib_module_names and top not in forbidden), imported


def test_inner_rooms_do_not_know_the_settings() -> None:
    """They take plain keyword arguments."""
    assert [module for module, imported in EDGES if imported == "comet.settings" and room(module) in INNER] == []


@pytest.mark.parametrize("folder", ["brokers", "triggers"])
def test_siblings_never_import_each_other(folder: str) -> None:
    """A broker or a trigger imports the seam, its own parts and what is below: it can be deleted without a trace."""
    seam = f"comet.{folder}"

    def sibling(module: str) -> str:
        return ".".join(module.split(".")[:3])

    wrong = [
        f"{module} imports {imported}"
        for module, imported in EDGES
        if module.startswith(f"{seam}.") and imported.startswith(f"{seam}.") and sibling(module) != sibling(imported)
    ]
    assert wrong == []


def test_an_optional_library_is_imported_in_one_place() -> None:
    """In the one file, or the one folder of a broker or a trigger, that needs it."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in project["dependencies"]} | BROUGHT_ALONG
    users = defaultdict(set)
    for module, file in FILES.items():
        for imported in imports(module):
            top = imported.partition(".")[0]
            if top != "comet" and top not in sys.stdlib_module_names and top not in needed:
                users[top].add(file.parent if len(module.split(".")) > 3 or file.name == "__init__.py" else file)
    assert {library: places for library, places in users.items() if len(places) > 1} == {}


def loaded(statement: str) -> set[str]:
    """The top names of all modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_the_core_loads_alone() -> None:
    """Neither gevent nor Flask comes with it."""
    assert not loaded("import comet.core.log, comet.core.wire") & {
        "gevent",
        "greenlet",
        "flask",
        "werkzeug",
        "gunicorn",
    }


def test_gunicorns_configuration_loads_nothing_that_must_be_patched_first() -> None:
    """It is read in an unpatched master: neither gevent nor Flask, and not ssl, whose contexts would break in the
    workers."""
    assert not loaded("import comet.serving") & {
        "gevent",
        "greenlet",
        "flask",
        "werkzeug",
        "ssl",
        "socket",
        "threading",
    }


def test_the_server_loads_no_optional_library() -> None:
    """What is not configured needs not be installed."""
    assert not loaded("import comet.app") & {"redis", "sqlite3", "pymysql", "stomp", "jwt"}
