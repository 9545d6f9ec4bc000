"""One declared data type: a source table, the events about it, a registry table. Configuration, never code.

Strict, frozen pydantic models, no I/O. Names of tables and columns are only shapes here; whether the database has them is
asked by `reconciler.catalog`, and they reach SQL through the driver's identifier quoting alone.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from schemas.durations import Duration


class Strict(BaseModel):
    """Unknown keys are errors; values never appear in errors, for a mistyped key may hold a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """No value is ever printed: whoever mistypes a setting may have put a secret in any of them."""
        return []


class Format(StrEnum):
    """How the records of a topic are written."""

    AVRO = "avro"
    JSON = "json"
    DEBEZIUM_AVRO = "debezium-avro"
    DEBEZIUM_JSON = "debezium-json"

    @property
    def is_debezium(self) -> bool:
        return self in (Format.DEBEZIUM_AVRO, Format.DEBEZIUM_JSON)

    @property
    def is_avro(self) -> bool:
        return self in (Format.AVRO, Format.DEBEZIUM_AVRO)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


#: One name, or several for a composite key.
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
#: Strict, for 1.0 or "1" is not the integer 1 in a database.
Scalar = StrictBool | StrictInt | StrictStr | None


class EventShape(Strict):
    """Where an event says its key, what happened, and when. Paths are dotted and reach through JSON text."""

    key: Names
    op: str | None = None  #: None: every record is a creation
    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    time: str | None = None  #: None: the broker's timestamp
    sequence: str | None = None  #: where the pipeline numbers its events; None: it does not, or nobody looks
    numbering: str | None = None  #: data types of other topics with this name are numbered by the same sequence

    @model_validator(mode="after")
    def _ops(self) -> Self:
        if self.op is not None and not self.create:
            raise ValueError("'create' must list the values of 'op' that announce a creation")
        if {*self.create} & {*self.delete}:
            raise ValueError("'create' and 'delete' share a value, which cannot be both a creation and a deletion")
        if self.numbering is not None and self.sequence is None:
            raise ValueError("'numbering' says with whom events are numbered, and 'sequence', where, is not set")
        return self


class Condition(Strict):
    """One term of a scope: a column against literals, by exactly one operator. No free SQL."""

    column: str
    in_: tuple[Scalar, ...] | None = Field(None, alias="in")
    not_in: tuple[Scalar, ...] | None = None
    eq: Scalar = None
    ne: Scalar = None
    lt: int | str | None = None
    le: int | str | None = None
    gt: int | str | None = None
    ge: int | str | None = None
    is_null: bool | None = None

    @property
    def operator(self) -> tuple[str, Any]:
        """The operator's name (`in`, `not_in`, `eq`, …, `is_null`) and its operand."""
        (name,) = self.model_fields_set - {"column"}
        return ("in" if name == "in_" else name), getattr(self, name)

    @model_validator(mode="after")
    def _one(self) -> Self:
        chosen = self.model_fields_set - {"column"}
        if len(chosen) != 1:
            raise ValueError("a scope condition takes exactly one of: in, not_in, eq, ne, lt, le, gt, ge, is_null")
        if getattr(self, next(iter(chosen))) is None:
            raise ValueError("a scope condition cannot compare with null; use is_null: true or false")
        return self


class SourceTable(Strict):
    """The table where rows of this type are created. Only ever read."""

    table: str
    key: Names
    created_at: str | None = None
    monotonic: bool = False  #: created_at never falls as the key rises (the operator's word)
    zone: str | None = None  #: of a timestamp without time zone
    scope: tuple[Condition, ...] = ()

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise ValueError("no time zone of that name is known; use one such as UTC or Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _times(self) -> Self:
        if self.monotonic and self.created_at is None:
            raise ValueError("'monotonic' says something about 'created_at', which is not set")
        return self


class FromSource(Strict):
    """The value of the source row's column."""

    source: str


class Literally(Strict):
    """A literal, where plain text would be read as a word (`now`)."""

    value: Scalar


InsertValue = FromSource | Literally | bool | int | float | str | None


class RegistryTable(Strict):
    """The target's table with one row per record to replicate. The only user table we insert into."""

    table: str
    key: Names
    created_at: str | None = None
    zone: str | None = None
    accepted: dict[str, tuple[Scalar, ...]] | None = None  #: None: any row counts, and the report says so
    insert: dict[str, InsertValue] = Field(default_factory=dict)
    appliers_stopped: bool = False
    orphans: Literal["list", "delete"] | dict[str, Scalar] = "list"

    @field_validator("accepted")
    @classmethod
    def _accepted(cls, value: dict[str, tuple[Scalar, ...]] | None) -> dict[str, tuple[Scalar, ...]] | None:
        if value is not None and (not value or not all(value.values())):
            raise ValueError("name at least one column with at least one accepted value, or leave 'accepted' out")
        return value

    @field_validator("orphans")
    @classmethod
    def _orphans(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) != 1:
            raise ValueError("an orphan's state is one column and its value, e.g. {state: 5}")
        return value


class DataType(Strict):
    """One kind of replicated record."""

    topics: tuple[str, ...] = Field(min_length=1)
    format: Format
    match: dict[str, str | int | bool] = Field(default_factory=dict)
    event: EventShape | None = None
    source: SourceTable
    registry: RegistryTable
    empty: Literal["refused", "allowed"] = "refused"
    settle: Duration | None = None
    budget: float | None = Field(None, gt=0, lt=1)

    @field_validator("topics", mode="before")
    @classmethod
    def _one_topic(cls, value: object) -> object:
        return _as_tuple(value)

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if self.event is None and not self.format.is_debezium:
            raise ValueError(f"format {self.format.value!r} needs an 'event' block: which fields hold key, op and time")
        if len(self.registry.key) != len(self.source.key):
            raise ValueError(
                f"source.key has {len(self.source.key)} columns and registry.key {len(self.registry.key)}; they must agree"
            )
        if self.event is not None and len(self.event.key) != len(self.source.key):
            raise ValueError(
                f"event.key has {len(self.event.key)} parts and source.key {len(self.source.key)}; they must agree"
            )
        if {*self.registry.key} & {*self.registry.insert}:
            raise ValueError("registry.insert must not set a column of registry.key; the key is always set")
        if isinstance(self.registry.orphans, dict) and {*self.registry.key} & {*self.registry.orphans}:
            raise ValueError("registry.orphans must not set a column of registry.key: the row would stand for another one")
        return self

    @property
    def composite(self) -> bool:
        return len(self.source.key) > 1

    def settle_or(self, default: timedelta) -> timedelta:
        return default if self.settle is None else self.settle

    def budget_or(self, default: float) -> float:
        return default if self.budget is None else self.budget
