"""The schema that ships says what `--json` prints."""

from __future__ import annotations

import json

import jsonschema
import pytest

from schemas import report_schema
from tests.reports import reports


def test_the_file_is_what_the_models_make() -> None:
    assert report_schema.FILE.read_text(encoding="utf-8") == report_schema.text(), "run: python -m schemas.report_schema"


@pytest.mark.parametrize("name", sorted(reports()))
def test_every_report_fits_the_schema(name: str) -> None:
    schema = json.loads(report_schema.text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(reports()[name].json_text()), schema)


def test_a_field_of_a_later_version_is_no_error_for_a_reader_of_this_one() -> None:
    later = reports()["clear"].plain() | {"signature": "…"}
    jsonschema.validate(later, json.loads(report_schema.text()))


def test_a_report_without_a_verdict_does_not_fit() -> None:
    broken = reports()["clear"].plain()
    del broken["verdict"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, json.loads(report_schema.text()))
