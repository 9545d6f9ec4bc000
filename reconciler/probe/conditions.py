"""Turn a data type's scope and accepted states into SQL conditions.

A closed set of operators; columns as quoted identifiers of the table, operands as literals quoted by the driver, so that
the server reads them in the column's own type. Two-valued: `ne` and `not_in` keep rows whose column is NULL, because
SQL's third truth value would drop such rows out of the scope, and out of the compare, without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import LiteralString

from psycopg import sql

from reconciler.probe.tables import column, literal
from schemas.data_types import Condition, Scalar

_ORDER: dict[str, LiteralString] = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def condition(scope: Iterable[Condition] = (), accepted: Mapping[str, Sequence[Scalar]] | None = None) -> sql.Composed | None:
    """All terms joined by AND, over a table called `t`; None where there is no term."""
    terms = [_term(term) for term in scope]
    terms += [_member(column(name), values) for name, values in (accepted or {}).items()]
    return sql.SQL(" AND ").join(terms) if terms else None


def _term(term: Condition) -> sql.Composed:
    name, operand = term.operator
    subject = column(term.column)
    if name in ("in", "not_in"):
        member = _member(subject, operand)
        return member if name == "in" else sql.SQL("({}) IS NOT TRUE").format(member)
    if name == "is_null":
        return sql.SQL("{} IS NULL" if operand else "{} IS NOT NULL").format(subject)
    if name == "ne":
        return sql.SQL("{} IS DISTINCT FROM {}").format(subject, literal(operand))
    return sql.SQL("{} {} {}").format(subject, sql.SQL(_ORDER.get(name, "=")), literal(operand))


def _member(subject: sql.Composed, values: Sequence[Scalar]) -> sql.Composed:
    """`subject` is one of the values; NULL may be one of them."""
    known = [value for value in values if value is not None]
    terms = []
    if known:
        items = sql.SQL(", ").join([literal(value) for value in known])
        terms.append(sql.SQL("{} IN ({})").format(subject, items))
    if len(known) < len(values):
        terms.append(sql.SQL("{} IS NULL").format(subject))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(terms)) if terms else sql.SQL("false").format()
