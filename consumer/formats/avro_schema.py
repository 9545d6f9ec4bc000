"""Read an Avro schema into a tree of nodes, within limits: a schema is a stranger's text too.

Only what decoding needs: defaults, aliases and docs are not looked at, nothing in a schema is ever evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.formats.contract import MAX_DEPTH
from schemas.errors import BadRecord

MAX_SCHEMA_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_FIXED = 1 << 20

PRIMITIVES: Final = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
#: Kafka Connect's names of types that Avro has no logical type for.
CONNECT_TIMES = {
    "io.debezium.time.Timestamp": "local-timestamp-millis",
    "io.debezium.time.MicroTimestamp": "local-timestamp-micros",
    "io.debezium.time.NanoTimestamp": "local-timestamp-nanos",
    "org.apache.kafka.connect.data.Timestamp": "timestamp-millis",
}
#: logical type -> (unit, local)
TIMES = {
    f"{local}timestamp-{name}": (unit, bool(local))
    for local in ("", "local-")
    for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
}
_NO_KEYS = {"date", "time-millis", "time-micros"}


@dataclass(eq=False, slots=True)
class Node:
    """One type. References to a named type are the very same node, so a recursive schema is a cyclic tree."""

    kind: str
    name: str = ""
    logical: str | None = None
    scale: int = 0
    size: int = 0  #: of a fixed
    symbols: tuple[str, ...] = ()
    fields: list[tuple[str, Node]] = field(default_factory=list)
    #: a union's branches; an array's or a map's single item type
    inner: list[Node] = field(default_factory=list)

    @property
    def children(self) -> Iterator[Node]:
        yield from (node for _, node in self.fields)
        yield from self.inner

    @property
    def stamp(self) -> tuple[str, bool] | None:
        """Unit, and whether it is local, where a number is a time."""
        return TIMES.get(self.logical or "")

    @property
    def is_plain_int(self) -> bool:
        return self.kind in ("int", "long") and self.logical not in TIMES and self.logical not in _NO_KEYS


def parse(texts: Sequence[str]) -> Node:
    """The last schema of the list; those before it are what it refers to. Raises BadRecord."""
    names: dict[str, Node] = {}
    budget = [MAX_NODES]
    node = None
    for text in texts:
        if len(text) > MAX_SCHEMA_BYTES:
            raise BadRecord(f"the schema is longer than {MAX_SCHEMA_BYTES} characters")
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            raise BadRecord("the schema is not JSON") from None
        node = _node(tree, "", names, budget, 0)
    if node is None:
        raise BadRecord("the schema is empty")
    return node


def _node(tree: Any, space: str, names: dict[str, Node], budget: list[int], depth: int) -> Node:
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise BadRecord(f"the schema has more than {MAX_NODES} types, or they nest deeper than {MAX_DEPTH}")
    if isinstance(tree, str):
        return _named(tree, space, names)
    if isinstance(tree, list):
        if any(isinstance(branch, list) for branch in tree) or not tree:
            raise BadRecord("the schema has a union in a union, or an empty one")
        return Node("union", inner=[_node(branch, space, names, budget, depth + 1) for branch in tree])
    if not isinstance(tree, dict) or "type" not in tree:
        raise BadRecord("the schema has a type that is neither a name, a list nor an object")
    kind = tree["type"]
    if not isinstance(kind, str):
        return _node(kind, space, names, budget, depth + 1)
    if kind in ("record", "error", "enum", "fixed"):
        return _definition(tree, kind, space, names, budget, depth)
    if kind in ("array", "map"):
        item = tree.get("items" if kind == "array" else "values")
        return Node(kind, inner=[_node(item, space, names, budget, depth + 1)])
    node = _named(kind, space, names)
    return _with_logic(Node(kind), tree) if kind in PRIMITIVES else node


def _named(name: str, space: str, names: dict[str, Node]) -> Node:
    if name in PRIMITIVES:
        return Node(name)
    found = names.get(name if "." in name or not space else f"{space}.{name}") or names.get(name)
    if found is None:
        raise BadRecord("the schema refers to a type that it does not define")
    return found


def _with_logic(node: Node, tree: dict[str, Any]) -> Node:
    logical, scale = tree.get("logicalType"), tree.get("scale", 0)
    connect = tree.get("connect.name")
    if logical is None and isinstance(connect, str):
        logical = CONNECT_TIMES.get(connect)
    node.logical = logical if isinstance(logical, str) else None
    node.scale = scale if type(scale) is int else 0
    return node


def _definition(tree: dict[str, Any], kind: str, space: str, names: dict[str, Node], budget: list[int], depth: int) -> Node:
    name, own = tree.get("name"), tree.get("namespace", space)
    if not isinstance(name, str) or not isinstance(own, str):
        raise BadRecord("the schema has a named type without a name")
    full = name if "." in name or not own else f"{own}.{name}"
    node = Node("record" if kind == "error" else kind, name=full)
    if full in names:
        raise BadRecord("the schema defines one name twice")
    names[full] = node  # before its fields: they may refer to it
    if kind == "enum":
        node.symbols = _symbols(tree.get("symbols"), budget)
    elif kind == "fixed":
        size = tree.get("size")
        if type(size) is not int or not 0 <= size <= MAX_FIXED:
            raise BadRecord(f"the schema has a fixed whose size is not within 0 to {MAX_FIXED}")
        node.size = size
        _with_logic(node, tree)
    else:
        node.fields = _fields(tree.get("fields"), full.rpartition(".")[0], names, budget, depth)
    return node


def _symbols(symbols: Any, budget: list[int]) -> tuple[str, ...]:
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise BadRecord("the schema has an enum without a list of symbols")
    budget[0] -= len(symbols)
    return tuple(symbols)


def _fields(trees: Any, space: str, names: dict[str, Node], budget: list[int], depth: int) -> list[tuple[str, Node]]:
    if not isinstance(trees, list):
        raise BadRecord("the schema has a record without a list of fields")
    fields = []
    for tree in trees:
        if not isinstance(tree, dict) or not isinstance(tree.get("name"), str) or "type" not in tree:
            raise BadRecord("the schema has a field without a name or a type")
        fields.append((tree["name"], _node(tree["type"], space, names, budget, depth + 1)))
    if len({name for name, _ in fields}) != len(fields):
        raise BadRecord("the schema has a record with two fields of one name")
    return fields


def recursive(node: Node) -> bool:
    """Whether a value of this type may hold another of the same type."""
    done: set[int] = set()

    def visit(at: Node, above: frozenset[int]) -> bool:
        if id(at) in above:
            return True
        if id(at) in done:
            return False
        inside = above | {id(at)}
        found = any(visit(child, inside) for child in at.children)
        done.add(id(at))
        return found

    return visit(node, frozenset())


def zero_width(node: Node, known: dict[int, bool] | None = None) -> bool:
    """Whether a value takes no bytes at all: a million of them would then fit into a record of three bytes."""
    known = {} if known is None else known
    if id(node) not in known:
        known[id(node)] = False  # a record inside itself
        known[id(node)] = (
            all(zero_width(child, known) for _, child in node.fields)
            if node.kind == "record"
            else node.kind == "null" or (node.kind == "fixed" and node.size == 0)
        )
    return known[id(node)]
