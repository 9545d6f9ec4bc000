"""Make any text safe to print: control characters escaped, known secrets hidden.

Names, keys and server messages come from strangers: an escape sequence could paint a CLEAR that nobody gave, a newline
could forge a log line. Secrets are hidden here a second time, behind every door that already keeps them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: Hiding a shorter secret would only tear ordinary words apart.
_SHORTEST_SECRET = 4
HIDDEN = "(hidden)"

_secrets: set[str] = set()


def harmless(text: object) -> str:
    """One line, no control characters or direction marks, no known secret."""
    shown = hide(str(text))
    return shown if shown.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in shown)


def hide(text: str) -> str:
    """Replace every secret of the settings in use. The longest first: one may be part of another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def learn_secrets(settings: BaseModel) -> None:
    """From now on hide the secrets of these settings, and of these alone."""
    _secrets.clear()
    for secret in _secrets_in(settings):
        for spelling in {secret, quote(secret, safe=""), unquote(secret)}:
            if len(spelling) >= _SHORTEST_SECRET:
                _secrets.add(spelling)


def forget_secrets() -> None:
    _secrets.clear()


def knows_secrets() -> bool:
    """Whether settings were read, so that hiding can be trusted."""
    return bool(_secrets)


def _escaped(character: str) -> str:
    code = ord(character)
    wide = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(character, wide)


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield from _parts(value.get_secret_value())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)


def _parts(secret: str) -> Iterator[str]:
    """The whole, and the password within a connection string, which a driver may quote alone."""
    yield secret
    yield from re.findall(r"password\s*=\s*'((?:[^'\\]|\\.)*)'", secret, re.I)
    yield from re.findall(r"password\s*=\s*([^\s'&]+)", secret, re.I)
    if "://" in secret:
        try:
            password = urlsplit(secret).password
        except ValueError:
            password = None
        yield from filter(None, [password, *re.findall(r"://[^/@\s]*?:([^@\s]+)@", secret)])
