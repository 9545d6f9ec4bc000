"""The settings file `fencepost.yaml` as strict models, and how it is read.

Unknown key, unset variable, dangerous Kafka setting: SettingsError, with the place and a hint, never with a value.
Order of precedence: environment (`FENCEPOST_SOURCE__DSN`), file, default. `${VAR}` and `${file:/path}` are replaced in
the file's text values before they are checked.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator

from schemas import settings_file
from schemas.data_types import DataType, Strict
from schemas.dsn import Dsn
from schemas.durations import Duration, Span
from schemas.errors import SettingsError
from schemas.kafka_settings import REFUSED_KAFKA, KafkaSettings
from schemas.numbering import Numbering, numberings

__all__ = ["REFUSED_KAFKA", "Dsn", "KafkaSettings", "Settings", "load"]

_MINUTE = timedelta(minutes=1)


class SourceSettings(Strict):
    """The database where rows are created."""

    dsn: Dsn
    kind: Literal["primary", "standby", "copy"] = "primary"
    primary: Dsn | None = None  #: where a standby's fence is taken
    origin: Dsn | None = None  #: what a copy is proved against
    slices: int = Field(2, ge=1, le=16)
    statement_timeout: Span = 10 * _MINUTE
    lock_timeout: Span = timedelta(seconds=5)
    snapshot_max: Span = 30 * _MINUTE

    @model_validator(mode="after")
    def _kinds(self) -> Self:
        if self.kind == "standby" and self.primary is None:
            raise ValueError("kind: standby needs 'primary', the DSN of the server where the fence is taken")
        if self.kind == "copy" and self.origin is None:
            raise ValueError("kind: copy needs 'origin', the DSN of the database it was copied from")
        return self

    @property
    def rows(self) -> Dsn:
        """Where the rows are that a verdict is about: a copy's origin, else the source itself."""
        return self.origin if self.kind == "copy" and self.origin is not None else self.dsn

    @property
    def writable(self) -> Dsn:
        """Where those rows are created: a standby's primary, else as `rows`."""
        return self.primary if self.kind == "standby" and self.primary is not None else self.rows


class RegistrySettings(Strict):
    """The database with the registry tables."""

    dsn: Dsn


class LedgerSettings(Strict):
    """Our own schema. Without a dsn it lives in the registry's database."""

    dsn: Dsn | None = None
    schema_: str = Field("fencepost", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    keep: Span = timedelta(days=90)


class SchemaRegistrySettings(Strict):
    """A Confluent-compatible schema registry."""

    url: str
    user: str | None = None
    password: SecretStr | None = None
    ca: Path | None = None

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
        except ValueError:  # its words may quote a password
            raise ValueError("a schema registry's url cannot be read") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a schema registry's url starts with http:// or https:// and names a host")
        if parts.username or parts.password:
            raise ValueError("put the credentials under 'user' and 'password', not into the url")
        return value.rstrip("/")


class EventLogSettings(Strict):
    """Where creations and deletions are announced."""

    kafka: KafkaSettings
    schema_registry: SchemaRegistrySettings | None = None
    schemas: Path | None = None  #: a folder of `<schema id>.avsc`


class FenceSettings(Strict):
    """How we know that everything before the fence has been announced."""

    pipeline: Literal["application", "debezium", "outbox"] = "application"
    settle: Duration = timedelta(seconds=60)
    skew: Duration = timedelta(seconds=5)
    connect: str | None = None
    connector: str | None = None
    slot: str | None = None
    publication: str | None = None
    marker: bool = False


class TrackerSettings(Strict):
    flush_every: Duration = timedelta(seconds=1)
    flush_records: int = Field(200_000, ge=1, le=10_000_000)


class BackfillSettings(Strict):
    rate: int | None = Field(None, ge=1)  #: rows a second
    batch: int = Field(5000, ge=1, le=100_000)


class AuditSettings(Strict):
    every: Span = 5 * _MINUTE
    listen: str = "127.0.0.1:9464"


class BrakeSettings(Strict):
    replica_lag: Duration = timedelta(seconds=30)
    active_sessions: int | None = Field(None, ge=1)
    statement_time: Span | None = None  #: of looking up one key


class SweepSettings(Strict):
    every: Span = timedelta(hours=24)
    backfill: bool = False
    rate: int | None = Field(None, ge=1)
    brakes: BrakeSettings = BrakeSettings()


class AlertSettings(Strict):
    budget: float = Field(0.0001, gt=0, lt=1)  #: tolerated share of dropped creations
    webhook: SecretStr | None = None
    #: Where docs/runbooks.md is to be read. No braces or spaces: Prometheus expands templates in annotations.
    runbooks: str = Field("docs/runbooks.md", pattern=r"^[^\s{}#\x00-\x1f\x7f]+$")

    @field_validator("webhook")
    @classmethod
    def _http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:  # its words may quote what is secret
                named = False
            if not named or not value.get_secret_value().isascii() or not value.get_secret_value().isprintable():
                raise ValueError("a webhook starts with http:// or https:// and names a host; other signs are %-escaped")
        return value


class QuarantineSettings(Strict):
    limit: int = Field(10_000, ge=0)


class LogSettings(Strict):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$"


class Settings(Strict):
    """The whole file."""

    source: SourceSettings
    registry: RegistrySettings
    ledger: LedgerSettings = LedgerSettings()
    event_log: EventLogSettings
    fence: FenceSettings = FenceSettings()
    tracker: TrackerSettings = TrackerSettings()
    backfill: BackfillSettings = BackfillSettings()
    audit: AuditSettings = AuditSettings()
    sweep: SweepSettings = SweepSettings()
    alerts: AlertSettings = AlertSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    logs: LogSettings = LogSettings()
    data_types: dict[Annotated[str, Field(pattern=_NAME)], DataType] = Field(min_length=1)

    @model_validator(mode="after")
    def _schemas(self) -> Self:
        needs = [name for name, t in self.data_types.items() if t.format.is_avro]
        if needs and self.event_log.schema_registry is None and self.event_log.schemas is None:
            raise ValueError(
                f"data type {needs[0]!r} is Avro: set event_log.schema_registry, or event_log.schemas to a folder of .avsc"
            )
        return self

    @model_validator(mode="after")
    def _sequences(self) -> Self:
        self.numberings()
        return self

    def numberings(self) -> tuple[Numbering, ...]:
        """The sequences that number events, by the topics they span."""
        return numberings(self.data_types, self.fence.settle)

    @property
    def ledger_dsn(self) -> Dsn:
        return self.ledger.dsn or self.registry.dsn

    def chosen(self, names: tuple[str, ...] | list[str] | None) -> dict[str, DataType]:
        """The data types asked for, in the file's order; all without names. Raises SettingsError on an unknown one."""
        for name in names or ():
            if name not in self.data_types:
                raise SettingsError(
                    f"no data type {name!r} in the settings",
                    hint=_meant(name, self.data_types) or _known(self.data_types),
                )
        return {name: t for name, t in self.data_types.items() if not names or name in names}


def load(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check a settings file. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    values = settings_file.read(path, environment)
    overridden: dict[tuple[str, ...], str] = {}
    for name in settings_file.variables(environment):
        section = name.removeprefix(settings_file.PREFIX).split("__")[0].lower()
        if section not in Settings.model_fields:
            # A misspelt variable must not be passed over in silence.
            raise SettingsError(
                f"the environment variable {name} names no setting", hint=_meant(section, Settings.model_fields)
            )
        overridden[settings_file.override(values, name, environment[name])] = name
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            f"the settings file {path} cannot be used: {_problems(error, overridden)}", hint=_hint(error)
        ) from None


def _problems(error: ValidationError, overridden: Mapping[tuple[str, ...], str]) -> str:
    told = [_problem(e, overridden) for e in error.errors(include_input=False, include_url=False)]
    return "; ".join(list(dict.fromkeys(told))[:5])


def _problem(e: Any, overridden: Mapping[tuple[str, ...], str]) -> str:
    loc = tuple(str(part) for part in e["loc"])
    variables = [name for place, name in overridden.items() if loc[: len(place)] == place]
    place = ".".join(part for part in loc if not _INNER.search(part))
    place += f" (from {variables[-1]})" if variables else ""
    if e["type"] == "extra_forbidden":
        return f"{place}: no setting has this name"
    if e["type"] == "missing":
        return f"{place}: this setting is missing"
    message = _LIBRARY.sub("", e["msg"].removeprefix("Value error, "))
    return f"{place}: {message}" if place else message


#: Words of the library that checks values, about what it made of them.
_LIBRARY = re.compile(r"^(Input|String|Tuple|Value|Dictionary) (?=should)| after validation, not \d+$")
#: Parts of a place that name our models' insides and not the file's.
_INNER = re.compile(r"^function-|\[|^values$")


def _hint(error: ValidationError) -> str | None:
    for e in error.errors(include_input=False, include_url=False):
        if e["type"] == "extra_forbidden":
            *parents, last = e["loc"]
            fields = _fields_at(tuple(parents))
            return _meant(str(last), fields) or (f"known here: {', '.join(sorted(fields))}" if fields else None)
    return "docs/settings.md tells what each setting takes"


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in loc:
        if isinstance(part, int):
            continue  # an item of a list has the fields its list's model has
        field = _by_name(getattr(model, "model_fields", {}), part)
        if field is None:
            model = DataType if model is dict else None
        else:
            model = next(_models(field.annotation), dict)
        if model is None:
            return []
    return [f.alias or name for name, f in getattr(model, "model_fields", {}).items()]


def _by_name(fields: Mapping[str, Any], name: str) -> Any:
    """A model's field by the name it has in the file."""
    return next((field for own, field in fields.items() if (field.alias or own) == name), None)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif getattr(annotation, "__origin__", None) is not dict:
        for part in getattr(annotation, "__args__", ()):
            yield from _models(part)


def _meant(name: str, known: Any) -> str | None:
    close = difflib.get_close_matches(name, [str(k) for k in known], 1)
    return f"did you mean {close[0]!r}?" if close else None


def _known(known: Any) -> str:
    return f"known are: {', '.join(map(str, known))}"
