"""One exchange over HTTP with a stranger: bounded in time and size, no redirect, no proxy, nothing kept between two.

What fails is told by kind alone: neither a URL nor an answer is ever quoted, for either may hold a secret.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

#: What one exchange may raise beside `SlowError`; `named` has words for each.
FAILURES = (OSError, http.client.HTTPException, ValueError)


class SlowError(Exception):
    """There was no whole answer in time."""


def parts(url: str) -> SplitResult | None:
    """None where it cannot be read as a URL over HTTP that names a host."""
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        return None
    return found if found.scheme in ("http", "https") and found.hostname else None


def named(error: BaseException, within_s: float) -> str:
    """What went wrong, without a word of a stranger's."""
    match error:
        case SlowError():
            return f"no whole answer within {within_s:g} s"
        case TimeoutError():
            return f"no answer within {within_s:g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return "the host's name is not known"
    return type(error).__name__


def exchange(
    method: str,
    url: SplitResult,
    target: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str],
    within_s: float,
    at_most: int | None,
) -> tuple[int, bytes]:
    """Status and body; without `at_most` the body is not read. Raises SlowError or one of FAILURES, ValueError on a body
    longer than `at_most` bytes."""
    assert url.hostname
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=within_s)
    late = threading.Event()

    def cut() -> None:
        # A time-out on the socket is one for each read: who drips a byte every second would hold us for ever.
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(within_s, cut)
    watch.daemon = True
    watch.start()
    try:
        connection.connect()
        # `Connection: close` would let the reply take the socket with it, and nothing could cut it any more.
        connection.request(method, target, body=body, headers={**_who(url), **headers})
        reply = connection.getresponse()
        answer = b"" if at_most is None else reply.read(at_most + 1)
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise SlowError from None
        raise
    finally:
        watch.cancel()
        connection.close()
    if late.is_set():
        raise SlowError
    if at_most is not None and len(answer) > at_most:
        raise ValueError("too long an answer")
    return reply.status, answer


def _who(url: SplitResult) -> dict[str, Any]:
    if not url.username:
        return {}
    who = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(who.encode()).decode()}
