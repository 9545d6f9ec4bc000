"""The hash of the settings: what the answer depends on, and nothing secret."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.history import settings_hash
from schemas.settings import Settings


def settings(**changed: Any) -> Settings:
    values: dict[str, Any] = {
        "source": {"dsn": "postgresql://u:one@source/app"},
        "registry": {"dsn": "host=target dbname=tracking user=u password=one"},
        "event_log": {"kafka": {"bootstrap.servers": "b:1", "group.id": "g", "sasl.password": "one"}},
        "data_types": {
            "job": {
                "topics": ["job"],
                "format": "json",
                "event": {"key": "id"},
                "source": {"table": "public.jobs", "key": "id"},
                "registry": {"table": "public.job_registry", "key": "record_id"},
            }
        },
    }
    return Settings(**(values | changed))


SAME: dict[str, Any] = {
    "a password": {"source": {"dsn": "postgresql://u:two@source/app"}},
    "the broker's password": {"event_log": {"kafka": {"bootstrap.servers": "b:1", "group.id": "g", "sasl.password": "two"}}},
    "how it logs": {"logs": {"level": "debug"}},
    "whom it alerts": {"alerts": {"webhook": "http://hooks/x"}},
}
OTHER: dict[str, Any] = {
    "another database": {"source": {"dsn": "postgresql://u:one@source/other"}},
    "another server": {"registry": {"dsn": "host=elsewhere dbname=tracking user=u password=one"}},
    "another broker": {"event_log": {"kafka": {"bootstrap.servers": "c:1", "group.id": "g", "sasl.password": "one"}}},
    "another settle": {"fence": {"settle": "1s"}},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_the_hash_does_not_know(change: dict[str, Any]) -> None:
    assert settings_hash(settings()) == settings_hash(settings(**change))


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER.keys())
def test_the_hash_tells(change: dict[str, Any]) -> None:
    assert settings_hash(settings()) != settings_hash(settings(**change))


def test_what_the_command_line_added_counts_whatever_its_order() -> None:
    one = settings()
    assert settings_hash(one, ("a", "b")) == settings_hash(one, ("b", "a")) != settings_hash(one)
