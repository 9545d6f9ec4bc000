"""The house of design §4, read from the files themselves: who may import whom, and what every file owes its reader."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from reconciler import proofs

ROOT = Path(__file__).parents[2]
#: Our rooms, and which of ours each may import.
MAY: dict[str, set[str]] = {
    "schemas": set(),
    "databases": {"schemas"},
    "terminal": {"schemas"},
    "consumer": {"schemas", "databases", "terminal"},
    "reconciler": {"schemas", "databases", "terminal"},
    "demo": {"schemas", "databases", "terminal"},
    "fencepost": {"schemas", "databases", "terminal", "consumer", "reconciler", "demo"},
}
#: Only what words an answer may know the terminal; what decides, reads or stores knows no screen.
SPEAKS = ("*/cli.py", "reconciler/report/*.py", "reconciler/undo.py")
#: What may be imported in these places alone: `*` is one level.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "confluent_kafka": ("consumer/streams/kafka*.py", "consumer/formats/schema_source.py", "demo/*.py"),
    "fastavro": ("consumer/formats/*.py", "demo/*.py"),
    "msgspec": ("consumer/formats/*.py",),
    "pyroaring": ("schemas/int_keys.py", "reconciler/probe/*.py"),
    "yaml": ("schemas/settings_file.py", "reconciler/alerts/*.py", "demo/*.py"),
    "alembic": ("databases/ledger.py", "schemas/migrations/*.py", "schemas/migrations/versions/*.py"),
    "psycopg": ("databases/*.py", "reconciler/*.py", "reconciler/*/*.py", "demo/*.py"),
    "rich": ("terminal/*.py", "demo/*.py"),
    "prometheus_client": ("reconciler/auditing/*.py",),
}
#: Shapes know no network and no driver.
NOT_IN_SCHEMAS = {
    "psycopg", "psycopg2", "asyncpg", "confluent_kafka", "socket", "ssl", "http", "urllib.request", "requests", "httpx",
    "subprocess", "asyncio", "rich", "typer", "click", "fastavro", "msgspec",
}  # fmt: skip
MOST_LINES = 400


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def files() -> list[Path]:
    rooms = [ROOT / room for room in MAY if (ROOT / room).is_dir()]
    return [ROOT / "fencepost.py", *sorted(path for room in rooms for path in room.rglob("*.py"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names of all imported modules, also those imported late, within functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


every_file = pytest.mark.parametrize("path", files(), ids=name)


@every_file
def test_a_room_imports_only_what_the_arrows_allow(path: Path) -> None:
    ours = tops(path) & MAY.keys()
    assert ours <= MAY[room(path)] | {room(path)}


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in files()}
    below = {}
    for ours, path in modules.items():
        found = {module for module in imports(path) if module in modules}
        # `from a import b`, where b is a module of the package a, is an arrow to b alone.
        below[ours] = {module for module in found if not any(other.startswith(f"{module}.") for other in found)}
    assert sum(map(len, below.values())) > 500, "the imports of ours are seen"
    TopologicalSorter(below).prepare()  # raises CycleError, which names them


@every_file
def test_a_third_partys_library_is_imported_only_in_its_place(path: Path) -> None:
    for library, places in ONLY_IN.items():
        if library in tops(path):
            assert any(path.relative_to(ROOT).match(place) for place in places), f"{name(path)} imports {library}"


@every_file
def test_what_decides_or_stores_knows_no_terminal(path: Path) -> None:
    if room(path) in ("consumer", "reconciler") and "terminal" in tops(path):
        assert any(path.relative_to(ROOT).match(place) for place in SPEAKS)


def test_shapes_know_no_network_and_no_driver() -> None:
    for path in files():
        if room(path) == "schemas":
            assert not {*imports(path)} & NOT_IN_SCHEMAS, name(path)


def test_shapes_know_sqlalchemy_as_values_only() -> None:
    """Tables and types; an engine or a session would be database work. Migrations are run by `databases`."""
    for path in files():
        if room(path) == "schemas" and "migrations" not in path.parts:
            used = {m for m in imports(path) if m.startswith("sqlalchemy")}
            assert not {m for m in used if re.search(r"engine|orm|create_engine|Connection|Session|pool", m)}, name(path)
            assert not used or name(path) in ("schemas/ledger.py", "schemas/audit_ledger.py", "schemas/sequence_ledger.py")


@every_file
def test_a_module_opens_with_its_job(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring, f"{name(path)} says nothing of its job"
    assert re.search(r"[.?!:]", docstring)


@every_file
def test_a_file_can_be_read_at_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@every_file
def test_no_error_is_swallowed_whole(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"everything"}
            silent = all(isinstance(line, ast.Pass) for line in node.body)
            broad = bool(caught & {"everything", "Exception", "BaseException"})
            assert not (silent and broad), f"{name(path)} line {node.lineno}"


@every_file
def test_only_the_terminal_and_the_front_door_print(path: Path) -> None:
    if room(path) in ("terminal", "fencepost"):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name(path)} line {node.lineno} prints"
        if (
            room(path) != "demo"
            and isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
        ):
            assert node.attr not in ("stdout", "stderr"), f"{name(path)} line {node.lineno} writes to a stream"


@every_file
def test_no_file_runs_strangers_code(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "pickle.loads", "pickle.load", "yaml.unsafe_load", "os.system"), called
            if called == "yaml.load":
                assert ast.unparse(node.args[1]) == "_StrictLoader", f"{name(path)} line {node.lineno}"


def test_no_test_folder_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))  # else tests/consumer would shadow the real `consumer`


# -- proofs -----------------------------------------------------------------------------------------------------------

PROOF_FILES = {p.stem for p in (ROOT / "reconciler" / "proofs").glob("*.py")} - {"__init__", "shown"}


def test_every_proof_file_is_in_the_order_and_every_name_has_a_file() -> None:
    assert sorted(proofs.ORDER) == sorted(PROOF_FILES)


def test_the_order_is_that_of_the_design() -> None:
    assert proofs.ORDER == (
        "identity", "earlier_writers_ended", "snapshot", "visible", "window", "control", "reread",
        "log_identity", "log_drained", "decoded", "log_unbroken",
        "world",  # of a recheck alone
    )  # fmt: skip


@pytest.mark.parametrize("stem", sorted(PROOF_FILES))
def test_a_proof_has_a_name_its_claims_and_a_look(stem: str) -> None:
    module = proofs.module(stem)
    assert stem == module.NAME
    assert callable(module.needed_by)
    assert callable(module.look)


@pytest.mark.parametrize("stem", sorted(PROOF_FILES))
def test_a_proof_asks_no_server_and_no_clock(stem: str) -> None:
    path = ROOT / "reconciler" / "proofs" / f"{stem}.py"
    assert not tops(path) & {"psycopg", "sqlalchemy", "databases", "confluent_kafka", "consumer", "time"}
    assert not re.search(r"\bnow\(|\btoday\(", path.read_text())


# -- the net itself ---------------------------------------------------------------------------------------------------


def test_the_readers_of_imports_see_late_and_aliased_imports(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text("def f():\n    import psycopg.sql as q\n    from confluent_kafka import Consumer\n")
    assert tops(path) == {"psycopg", "confluent_kafka"}


def test_all_libraries_we_import_are_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    declared = {
        re.split(r"[\[>=<]", line)[0].replace("-", "_").lower() for line in re.findall(r'"([a-zA-Z][\w\[\],.-]*>=[^"]+)"', text)
    }
    declared |= {"yaml"}  # pyyaml imports as yaml
    found = {top.lower() for path in files() for top in tops(path)} - {*sys.stdlib_module_names} - MAY.keys() - {""}
    assert found <= declared, found - declared


def test_an_installation_has_every_file_that_a_room_holds() -> None:
    """`pip install .` takes modules by the list of packages, and other files only where they are named."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = sorted(room for room in MAY if room != "fencepost")
    assert sorted(build["packages"]["find"]["include"]) == [f"{room}*" for room in rooms]
    assert build["py-modules"] == ["fencepost"]
    taken = {path for room, globs in build["package-data"].items() for glob in globs for path in (ROOT / room).glob(glob)}
    for room in rooms:
        files = {path for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert {path for path in files if path.suffix != ".py"} <= taken, room
