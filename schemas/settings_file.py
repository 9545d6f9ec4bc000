"""From a settings file and the environment to plain values: YAML, `${VAR}`, `${file:/path}`, FENCEPOST_… overrides.

Knows no setting by name; what the values mean is checked by `schemas.settings`. Every failure is a SettingsError that
names the place and never shows a value, for a mistyped one may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import SettingsError

#: More values than any settings file has; aliases of aliases would make billions of a few lines.
MOST_VALUES = 200_000
MOST_SECRET_BYTES = 1 << 20
PREFIX = "FENCEPOST_"
#: Variables of ours that are no settings, and those that Kubernetes sets for a service called `fencepost`.
_OTHERS = re.compile(r"FENCEPOST_(CONFIG|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)\Z", re.ASCII)


def read(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The file's values, with variables replaced. Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings file {path}: {error.strerror}", hint="name another with --config FILE"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"the settings file {path} is not UTF-8 text") from None
    raw = _parsed(path, text)
    if not isinstance(raw, dict):
        raise SettingsError(f"the settings file {path} must hold sections such as 'source:' and 'data_types:'")
    replaced: dict[str, Any] = _Replacing(path, environment).of(raw, "")
    return replaced


def _parsed(path: Path, text: str) -> object:
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"the settings file {path} is not YAML{place}: {_words(error)}", hint=_QUOTES) from None
    except (yaml.YAMLError, ValueError):
        # ValueError: what looks like a date or number and is none, such as 2026-13-45.
        raise SettingsError(f"the settings file {path} is not YAML", hint=_QUOTES) from None
    except RecursionError:
        raise SettingsError(f"the settings file {path} is nested too deeply") from None


_QUOTES = "put values that hold special characters in quotes"


def _words(error: yaml.MarkedYAMLError) -> str:
    """The parser's words. An unquoted password may pass for an alias (*…), a tag (!…) or an anchor, which it would quote."""
    if isinstance(error, _TwiceError):
        return str(error.problem)
    return re.sub(r"""(['"])(?:(?!\1).){2,}\1|(['"]).*\2.+\2""", "'…'", str(error.problem or "unreadable"), flags=re.S)


class _TwiceError(yaml.constructor.ConstructorError):
    """A key was given twice."""


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise _TwiceError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


class _Replacing:
    """Walks the values of one file and replaces the variables in its texts."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path, self._environment, self._seen = path, environment, count(1)

    def of(self, value: Any, place: str, depth: int = 0) -> Any:
        if next(self._seen) > MOST_VALUES or depth > 50:
            raise SettingsError(f"the settings file {self._path} holds too many values; are its aliases (*…) meant?")
        if isinstance(value, dict):
            return {self._key(k, place): self.of(v, _joined(place, k), depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.of(v, f"{place}[{i}]", depth + 1) for i, v in enumerate(value)]
        if isinstance(value, str):
            return _writable(_VARIABLE.sub(lambda m: self._lookup(m[1], place), value), place)
        return value

    def _key(self, key: object, place: str) -> str:
        if isinstance(key, str):
            _writable(key, f"a name under {place or 'the top'}")
        if not isinstance(key, str):
            raise SettingsError(
                f"the settings file {self._path} cannot be used: under {place or 'the top'} a name is not text, but"
                f" {type(key).__name__}",
                hint="put names such as on, off, yes, no and numbers in quotes",
            )
        return key

    def _lookup(self, name: str, place: str) -> str:
        if name.startswith("file:"):
            return _secret_file(name[5:], place)
        if not _VARIABLE_NAME.match(name):
            raise SettingsError(f"{place}: what stands in ${{…}} is no variable's name", hint="write ${NAME}")
        if name not in self._environment:
            raise SettingsError(f"{place}: the variable {name} is not set", hint=f"export {name}=… before the command")
        return self._environment[name]


def _writable(text: str, place: str) -> str:
    """What no database, broker or file could be handed."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise SettingsError(f"{place} holds a NUL or half a surrogate pair, which is no text", hint="write it without")
    return text


def _all_writable(value: Any, place: str) -> None:
    if isinstance(value, str):
        _writable(value, place)
    for inner in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _all_writable(inner, place)


def _joined(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _secret_file(name: str, place: str) -> str:
    try:
        with Path(name).open("rb") as file:
            data = file.read(MOST_SECRET_BYTES + 1)
        if len(data) > MOST_SECRET_BYTES:
            raise SettingsError(f"{place}: the file {name} is over {MOST_SECRET_BYTES} bytes long")
        return data.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(
            f"{place}: cannot read the file {name}: {error.strerror}", hint="is its path right, and may we read it?"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{place}: cannot read the file {name}: it is not UTF-8 text") from None
    except ValueError:
        raise SettingsError(f"{place}: no file has such a name") from None


def variables(environment: Mapping[str, str]) -> list[str]:
    """The variables that mean to override a setting, shorter paths first."""
    chosen = [name for name in environment if name.startswith(PREFIX) and not _OTHERS.match(name)]
    return sorted(chosen, key=lambda name: (name.count("__"), name))


def override(values: dict[str, Any], name: str, text: str) -> tuple[str, ...]:
    """Put one variable's value in its place, and say where: FENCEPOST_SOURCE__DSN sets source.dsn.

    A part of the name finds a key of the file whatever its case and its dots and hyphens; text that is JSON of a list or
    an object is read as such.
    """
    *parents, last = name.removeprefix(PREFIX).split("__")
    node = values
    place: list[str] = []
    for part in parents:
        key = _key_for(part, node, place)
        place.append(key)
        below = node.get(key)
        if below is None:
            below = node[key] = {}
        if not isinstance(below, dict):
            raise SettingsError(f"the environment variable {name} reaches into {'.'.join(place)}, which is one value")
        node = below
    key = _key_for(last, node, place)
    node[key] = _value(text)
    _all_writable(node[key], f"the environment variable {name}")
    return (*place, key)


def _key_for(part: str, node: Mapping[str, Any], place: list[str]) -> str:
    plain = part.lower()
    for key in node:
        if re.sub(r"[.-]", "_", str(key).lower()) == plain:
            return str(key)
    # librdkafka's names have dots, which a shell's variables cannot have.
    return plain.replace("_", ".") if place == ["event_log", "kafka"] else plain


def _value(text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
