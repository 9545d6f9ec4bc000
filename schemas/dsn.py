"""Dsn: a PostgreSQL connection string that prints as its harmless parts only. Connecting is `databases.connect`."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

UNREADABLE = "(a connection string that cannot be read)"
#: One `keyword = value` of libpq's own form.
_PAIR = r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)\s*"
_PAIRS = re.compile(rf"(?:{_PAIR}(?=\s|\w|\Z))*\Z")


class Dsn(SecretStr):
    """A PostgreSQL connection string."""

    @property
    def described(self) -> str:
        """`user@host:port/database`, never the password, whatever shape the text has."""
        text = self.get_secret_value()
        return _described_url(text) if "://" in text else _described_pairs(text)


def _described_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        user = f"{unquote(parts.username)}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return UNREADABLE
    # A password with an unescaped / ? or # ends the host part early, and its rest would pass for a path: the @ betrays it.
    if "@" in text.partition("://")[2][len(parts.netloc) :] or parts.fragment:
        return UNREADABLE
    return f"{user}{parts.hostname or 'localhost'}{port}{parts.path}"


def _described_pairs(text: str) -> str:
    if not text.strip() or not _PAIRS.match(text):
        return UNREADABLE
    found = {name: re.sub(r"\\(.)", r"\1", value.strip("'")) for name, value in re.findall(_PAIR, text)}
    user = f"{found['user']}@" if "user" in found else ""
    port = f":{found['port']}" if "port" in found else ""
    return f"{user}{found.get('host') or 'localhost'}{port}/{found.get('dbname', '')}"
