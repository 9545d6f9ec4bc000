"""The settings file: what is read, and what is refused with which words."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from schemas.errors import SettingsError
from schemas.kafka_settings import KAFKA_AT_MOST
from schemas.settings import REFUSED_KAFKA, load
from tests.schemas.settings_files import SMALL, WHOLE, changed, read, refused, told

# -- reading ----------------------------------------------------------------------------------------------------------


def test_only_what_has_no_default_is_needed(tmp_path: Path) -> None:
    settings = read(tmp_path, SMALL)
    assert settings.source.statement_timeout == timedelta(minutes=10)
    assert settings.ledger_dsn == settings.registry.dsn
    assert settings.ledger.schema_ == "fencepost"
    assert list(settings.data_types) == ["job_artifact"]


def test_the_designs_whole_example_is_read_and_its_defaults_are_ours(tmp_path: Path) -> None:
    whole, small = read(tmp_path, WHOLE), read(tmp_path, SMALL)
    for section in ("fence", "tracker", "backfill", "audit", "sweep", "alerts", "quarantine", "logs"):
        assert getattr(whole, section) == getattr(small, section), section
    assert whole.source.slices == small.source.slices
    assert whole.ledger.keep == small.ledger.keep
    assert whole.data_types["job_artifact"].source.scope[0].operator == ("in", (1, 2, 3))


def test_one_name_is_a_list_of_one(tmp_path: Path) -> None:
    t = read(tmp_path, changed("data_types.job_artifact.topics", "one")).data_types["job_artifact"]
    assert (t.topics, t.source.key) == (("one",), ("id",))


def test_chosen_keeps_the_files_order_and_knows_every_name(tmp_path: Path) -> None:
    values = changed("data_types.another", SMALL["data_types"]["job_artifact"])
    settings = read(tmp_path, yaml.safe_dump(values, sort_keys=False))
    assert list(settings.chosen(None)) == list(settings.chosen(["another", "job_artifact"])) == ["job_artifact", "another"]
    with pytest.raises(SettingsError, match="no data type 'job_artefact'") as caught:
        settings.chosen(["job_artefact"])
    assert caught.value.hint == "did you mean 'job_artifact'?"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words", "hint"),
    [
        ("sorce", "sorce: no setting has this name", "did you mean 'source'?"),
        ("source.dsm", "source.dsm: no setting has this name", "did you mean 'dsn'?"),
        ("ledger.shema", "ledger.shema: no setting has this name", "did you mean 'schema'?"),
        ("sweep.brakes.replica_lagg", "sweep.brakes.replica_lagg: no setting", "did you mean 'replica_lag'?"),
        ("data_types.job_artifact.topic", "job_artifact.topic: no setting", "did you mean 'topics'?"),
        ("data_types.job_artifact.source.tabel", "source.tabel: no setting", "did you mean 'table'?"),
        ("data_types.job_artifact.event.keys", "event.keys: no setting", "did you mean 'key'?"),
        ("fence.xyz", "fence.xyz: no setting", "known here: connect"),
    ],
)
def test_a_misspelt_setting_is_told_with_what_was_meant(tmp_path: Path, place: str, words: str, hint: str) -> None:
    error = refused(tmp_path, changed(place, 1))
    assert words in str(error)
    assert hint in (error.hint or "")


def test_a_misspelt_part_of_a_scope_is_told_too(tmp_path: Path) -> None:
    error = refused(tmp_path, changed("data_types.job_artifact.source.scope", [{"colum": "a", "eq": 1}]))
    assert error.hint == "did you mean 'column'?"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("source.kind", "replica", "source.kind: should be 'primary', 'standby' or 'copy'"),
        ("source.kind", "standby", "needs 'primary'"),
        ("source.kind", "copy", "needs 'origin'"),
        ("source.slices", 0, "source.slices"),
        ("source.statement_timeout", 600, "a number with a unit"),
        ("source.lock_timeout", "0s", "zero would turn it off"),
        ("source.statement_timeout", "0s", "zero would turn it off"),
        ("ledger.schema", 'x"; DROP SCHEMA public', "ledger.schema"),
        ("event_log.kafka", {"group.id": "g"}, "'bootstrap.servers' is missing"),
        ("event_log.kafka", {"bootstrap.servers": "b"}, "'group.id' is missing"),
        ("event_log.kafka", {"bootstrap.servers": "u:p@b:1", "group.id": "g"}, "credentials go to 'sasl.username'"),
        ("event_log.kafka.sasl~mechanism", ["a"], "must be one value"),
        ("event_log.schema_registry", {"url": "registry:8081"}, "starts with http"),
        ("event_log.schema_registry", {"url": "http://u:p@registry"}, "not into the url"),
        ("alerts.budget", 0, "alerts.budget"),
        ("alerts.budget", 1, "alerts.budget"),
        ("logs.level", "trace", "logs.level"),
        ("data_types", {}, "data_types"),
        ("data_types.a b", SMALL["data_types"]["job_artifact"], "data_types"),
        ("data_types.job_artifact.format", "xml", "format"),
        ("data_types.job_artifact.format", "avro", "schema_registry"),
        ("data_types.job_artifact.event", None, "needs an 'event' block"),
        ("data_types.job_artifact.event.create", [], "'create' must list"),
        ("data_types.job_artifact.event.delete", ["created"], "share a value"),
        ("data_types.job_artifact.event.key", ["a", "b"], "they must agree"),
        ("data_types.job_artifact.registry.key", ["a", "b"], "they must agree"),
        ("data_types.job_artifact.registry.insert", {"artifact_id": 1}, "the key is always set"),
        ("data_types.job_artifact.registry.accepted", {}, "at least one"),
        ("data_types.job_artifact.registry.accepted", {"state": []}, "at least one"),
        ("data_types.job_artifact.registry.accepted", {"state": [1.0]}, "accepted.state.0"),
        ("data_types.job_artifact.registry.orphans", {"a": 1, "b": 2}, "one column"),
        ("data_types.job_artifact.source.zone", "Atlantis/City", "no time zone"),
        ("data_types.job_artifact.source.zone", "../../etc/passwd", "no time zone"),
        ("data_types.job_artifact.source.monotonic", True, "'created_at', which is not set"),
        ("data_types.job_artifact.source.scope", [{"column": "a"}], "exactly one of"),
        ("data_types.job_artifact.source.scope", [{"column": "a", "eq": 1, "ne": 2}], "exactly one of"),
        ("data_types.job_artifact.source.scope", [{"column": "a", "eq": None}], "cannot compare with null"),
        ("data_types.job_artifact.settle", -1, "settle"),
    ],
)
def test_an_impossible_setting_is_told_with_its_place(tmp_path: Path, place: str, value: object, words: str) -> None:
    assert words in str(refused(tmp_path, changed(place, value)))


@pytest.mark.parametrize("place", ["source", "source.dsn", "registry", "event_log", "data_types"])
def test_a_missing_setting_is_told_with_its_place(tmp_path: Path, place: str) -> None:
    values = copy.deepcopy(SMALL)
    node: Any = values
    *parents, last = place.split(".")
    for part in parents:
        node = node[part]
    del node[last]
    assert f"{place}: this setting is missing" in str(refused(tmp_path, values))


@pytest.mark.parametrize("name", sorted(REFUSED_KAFKA))
@pytest.mark.parametrize("nested", [False, True])
def test_a_dangerous_kafka_setting_is_refused_at_start_wherever_it_hides(tmp_path: Path, name: str, nested: bool) -> None:
    kafka = SMALL["event_log"]["kafka"] | {name: name not in ("enable.partition.eof", "check.crcs", "api.version.request")}
    error = refused(tmp_path, changed("event_log.kafka", {"values": kafka} if nested else kafka))
    assert f"{name!r} cannot be set: {REFUSED_KAFKA[name]}" in str(error)


@pytest.mark.parametrize("off", [False, "false", "False", " 0 "])
def test_saying_that_a_dangerous_kafka_setting_is_off_is_allowed(tmp_path: Path, off: object) -> None:
    read(tmp_path, changed("event_log.kafka.enable~auto~commit", off))
    refused(tmp_path, changed("event_log.kafka.auto~offset~reset", off))
    refused(tmp_path, changed("event_log.kafka.enable~partition~eof", off))
    refused(tmp_path, changed("event_log.kafka.check~crcs", off))


@pytest.mark.parametrize("name", ["enable.partition.eof", "check.crcs", "api.version.request"])
def test_saying_that_what_the_tracker_needs_is_on_is_allowed(tmp_path: Path, name: str) -> None:
    read(tmp_path, changed("event_log.kafka." + name.replace(".", "~"), True))


@pytest.mark.parametrize("name", sorted(KAFKA_AT_MOST))
def test_what_bounds_the_clients_memory_cannot_be_raised_without_end(tmp_path: Path, name: str) -> None:
    place = "event_log.kafka." + name.replace(".", "~")
    read(tmp_path, changed(place, KAFKA_AT_MOST[name]))
    assert "at most" in str(refused(tmp_path, changed(place, str(KAFKA_AT_MOST[name] + 1))))


def test_kafka_settings_reach_the_client_as_text_with_secrets_in_clear(tmp_path: Path) -> None:
    kafka = read(tmp_path, changed("event_log.kafka.sasl~password", "hunter22")).event_log.kafka
    assert kafka.plain() == {"bootstrap.servers": "broker:9092", "group.id": "fencepost", "sasl.password": "hunter22"}
    assert isinstance(kafka.values["sasl.password"], SecretStr)
    assert kafka.servers == "broker:9092"


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config", "sasl.oauthbearer.assertion.private.key.passphrase",
    ],
)  # fmt: skip
def test_every_secret_librdkafka_knows_is_hidden(tmp_path: Path, name: str) -> None:
    values = copy.deepcopy(SMALL)
    values["event_log"]["kafka"][name] = "hunter22"
    assert "hunter22" not in str(read(tmp_path, values).event_log.kafka.values)


#: Aliases of aliases: ten to the eighth values in eight lines.
BILLIONS = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(10 * ['*' + before])}]\n" for before, name in pairwise("abcdefgh")
)

# -- files that are no settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold sections"),
        ("- a\n- b\n", "must hold sections"),
        ("source: {dsn: a\n", "is not YAML at line"),
        ("source: {dsn: a}\nsource: {dsn: b}\n", "the key 'source' is given twice"),
        ("source: {dsn: !!python/object/apply:os.system [id]}", "is not YAML"),
        ("source: {dsn: 2026-13-45}", "is not YAML"),
        ("1: 2\n", "a name is not text"),
        ("source: {on: 2}\n", "under source a name is not text"),
        ("? [a, b]\n: 1\n", "is not YAML"),
        ("a: &a [*a]\n", "too many values"),
        ("[" * 3000, "nested too deeply"),
        (BILLIONS, "too many values"),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_file_that_is_no_settings_is_one_readable_error(tmp_path: Path, text: str, words: str) -> None:
    assert words in str(refused(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the settings file .*No such file") as caught:
        load(tmp_path / "none.yaml", {})
    assert "--config" in (caught.value.hint or "")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", {})


# -- variables --------------------------------------------------------------------------------------------------------


def test_variables_and_files_are_replaced_within_text(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p${NO}w\r\n")
    values = changed("source.dsn", f"postgresql://u:${{file:{secret}}}@${{HOST}}/app")
    assert read(tmp_path, values, {"HOST": "h"}).source.dsn.get_secret_value() == "postgresql://u:p${NO}w@h/app"


def test_an_unset_variable_is_told_with_its_place(tmp_path: Path) -> None:
    error = refused(tmp_path, changed("data_types.job_artifact.topics", ["a", "${TOPIC}"]))
    assert str(error) == "data_types.job_artifact.topics[1]: the variable TOPIC is not set"
    assert "TOPIC" in (error.hint or "")


def test_an_empty_variable_is_set(tmp_path: Path) -> None:
    assert read(tmp_path, changed("fence.slot", "${SLOT}"), {"SLOT": ""}).fence.slot == ""


@pytest.mark.parametrize(
    ("name", "words"), [("none", "No such file"), ("", "cannot read"), ("a\\0b", "no file has such a name")]
)
def test_a_secret_file_that_cannot_be_read_is_told_with_its_place(tmp_path: Path, name: str, words: str) -> None:
    text = yaml.safe_dump(SMALL).replace("postgresql://reader@source/app", f'"${{file:{tmp_path}/{name}}}"')
    error = refused(tmp_path, text)
    assert str(error).startswith("source.dsn: ")
    assert words in str(error)


def test_the_environment_outranks_the_file(tmp_path: Path) -> None:
    environment = {
        "FENCEPOST_SOURCE__DSN": "postgresql://other@host/app",
        "FENCEPOST_SOURCE__SLICES": "4",
        "FENCEPOST_SWEEP__BRAKES__REPLICA_LAG": "7s",
        "FENCEPOST_LEDGER__SCHEMA": "mine",
        "FENCEPOST_EVENT_LOG__KAFKA__SASL_PASSWORD": "hunter22",
        "FENCEPOST_EVENT_LOG__KAFKA__BOOTSTRAP_SERVERS": "elsewhere:9092",
        "FENCEPOST_DATA_TYPES__JOB_ARTIFACT__TOPICS": '["a", "b"]',
        "FENCEPOST_DATA_TYPES__JOB_ARTIFACT__SOURCE__TABLE": "[odd",
    }
    settings = read(tmp_path, SMALL, environment)
    assert settings.source.dsn.get_secret_value() == "postgresql://other@host/app"
    assert settings.source.slices == 4
    assert settings.sweep.brakes.replica_lag == timedelta(seconds=7)
    assert settings.ledger.schema_ == "mine"
    assert settings.event_log.kafka.plain()["sasl.password"] == "hunter22"
    assert settings.event_log.kafka.servers == "elsewhere:9092"
    assert settings.data_types["job_artifact"].topics == ("a", "b")
    assert settings.data_types["job_artifact"].source.table == "[odd"


def test_only_the_environment_that_is_handed_in_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENCEPOST_SOURCE__SLICES", "9")
    assert read(tmp_path, SMALL).source.slices == 2
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(SMALL))
    assert load(tmp_path / "f.yaml").source.slices == 9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FENCEPOST_SORCE__DSN", "names no setting"),
        ("FENCEPOST_SOURCE__DSM", "source.dsm (from FENCEPOST_SOURCE__DSM): no setting has this name"),
        ("FENCEPOST_SOURCE__KIND", "source.kind (from FENCEPOST_SOURCE__KIND): should be"),
        ("FENCEPOST_SOURCE__DSN__HOST", "reaches into source.dsn, which is one value"),
        ("FENCEPOST_SOURCE", "source (from FENCEPOST_SOURCE)"),
    ],
)
def test_a_variable_that_sets_nothing_possible_is_told_by_name(tmp_path: Path, name: str, words: str) -> None:
    error = refused(tmp_path, SMALL, {name: "hunter22"})
    assert words in str(error)
    assert "hunter22" not in told(error)


@pytest.mark.parametrize(
    "name", ["FENCEPOST_CONFIG", "FENCEPOST_SERVICE_HOST", "FENCEPOST_PORT", "FENCEPOST_PORT_9464_TCP_ADDR"]
)
def test_variables_that_mean_something_else_are_left_alone(tmp_path: Path, name: str) -> None:
    read(tmp_path, SMALL, {name: "tcp://10.0.0.1:9464"})


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_a_text_that_no_database_takes_is_refused_by_its_place_and_never_shown(tmp_path: Path, bad: str) -> None:
    scope = [{"column": "name", "eq": bad}]
    error = refused(tmp_path, changed("data_types.job_artifact.source.scope", scope))
    assert "source.scope[0].eq holds a NUL or half a surrogate pair, which is no text" in str(error)
    name = "FENCEPOST_DATA_TYPES__JOB_ARTIFACT__SOURCE__SCOPE"
    error = refused(tmp_path, SMALL, {name: json.dumps(scope)})
    assert f"the environment variable {name} holds" in str(error)
