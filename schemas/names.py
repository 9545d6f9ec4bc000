"""Read a table's or a column's name as an operator writes it in the settings. Pure: no database.

A part in double quotes is taken as it stands (`""` is one quote). A part without quotes is looked for as written and,
where nothing has that name, in lower case, as PostgreSQL itself would read it. Names only ever become parameters of
catalog queries; what reaches SQL later is the name the catalog gave back, through the driver's quoting.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import NamedInVain

#: Bytes of the longest name that a server holds (NAMEDATALEN - 1). PostgreSQL cuts longer ones in silence; we never do.
LONGEST = 63

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


@dataclass(frozen=True)
class Name:
    """One part of a name."""

    written: str
    quoted: bool

    @property
    def spellings(self) -> tuple[str, ...]:
        """What to look for, the best first."""
        if self.quoted or self.written == self.written.lower():
            return (self.written,)
        return self.written, self.written.lower()


def table_name(text: str) -> tuple[Name | None, Name]:
    """`schema.table` or `table`, each part quoted or not. Raises NamedInVain."""
    parts = list(_parts(text, "a table's name"))
    if len(parts) > 2:
        raise NamedInVain(
            f"{shown(text)} cannot be a table's name: it has {len(parts)} parts, wanted are schema.table",
            hint='put a name that holds a dot in double quotes: "a.b".c',
        )
    return (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def column_spellings(text: str) -> tuple[str, ...]:
    """What to look for among a table's columns: as written, without its quotes, in lower case."""
    _checked(text, text, "a column's name")
    if len(text) > 2 and text[0] == text[-1] == '"':
        return text, text[1:-1].replace('""', '"')
    return (text,) if text == text.lower() else (text, text.lower())


def column_itself(text: str) -> str:
    """A column's name without the double quotes that the settings may write around it: as an event names it."""
    return column_spellings(text)[1] if text[:1] == '"' and len(column_spellings(text)) == 2 else text


def _parts(text: str, what: str) -> Iterable[Name]:
    place = 0
    while True:
        match = _PART.match(text, place)
        if match is None:
            fault = _OPEN if text[place : place + 1] == '"' else "a part of it is empty"
            raise NamedInVain(f"{shown(text)} cannot be {what}: {fault}")
        name = Name(match[2], False) if match[1] is None else Name(match[1].replace('""', '"'), True)
        _checked(name.written, text, what)
        yield name
        place = match.end()
        if place == len(text):
            return
        if text[place] != ".":
            raise NamedInVain(
                f"{shown(text)} cannot be {what}: a double quote stands in the middle of a part",
                hint='a part that holds a quote is written in quotes, with the quote doubled: "say ""hi"""',
            )
        place += 1


_OPEN = "its double quotes are not closed, or hold nothing"


def _checked(name: str, whole: str, what: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise NamedInVain(f"{shown(whole)} cannot be {what}: it is not valid UTF-8 text") from None
    if not name or "\0" in name:
        raise NamedInVain(f"{shown(whole)} cannot be {what}: " + ("it holds a NUL character" if name else _OPEN))
    if size > LONGEST:
        raise NamedInVain(
            f"{shown(whole)} cannot be {what}: a part of it is {size} bytes long, PostgreSQL holds at most {LONGEST}",
            hint="write the name as the catalog has it; a longer one was cut when it was created",
        )


def shown(name: str) -> str:
    """A stranger's name for a message: quoted, short, its control characters harmless."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:70]}…{text[-8:]}"


def qualified(schema: str, name: str) -> str:
    """`schema.name` for words, quoted only where it must be; `table_name` reads it back."""
    return ".".join(part if _PLAIN.match(part) else _harmless(part) for part in (schema, name))


_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z", re.ASCII)


def _harmless(part: str) -> str:
    inner = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in part)
    return '"' + inner.replace('"', '""') + '"'


def meant(name: str, known: Iterable[str]) -> str | None:
    """A hint with the closest known names, or None."""
    close = difflib.get_close_matches(name, known, 3, 0.6)
    return f"did you mean {' or '.join(close)}?" if close else None
