"""The waist: findings survive their file, and the file has a schema."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
from pydantic import TypeAdapter

from mome_node.findings import NOT_FOR_READERS, PROBLEM_CODES, Findings, Problem
from mome_node.shipped import PACKAGE
from tests.node.result_fixtures import findings as analysed

SCHEMA = PACKAGE / "findings.schema.json"


def schema() -> str:
    """What findings.schema.json must be: made from the types."""
    made = TypeAdapter(Findings).json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **made}, indent=1) + "\n"


def test_findings_survive_their_file() -> None:
    """What the reports are made of is what the analysis found."""
    found = Findings.from_json(analysed().to_json())
    assert Findings.from_json(found.to_json()) == found


def test_the_schema_is_made_from_the_types() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema()


def test_findings_fit_their_schema() -> None:
    jsonschema.validate(json.loads(analysed().to_json()), json.loads(schema()))


def test_a_problem_has_the_severity_of_its_code() -> None:
    assert Problem.of("NO_DWI", "none").severity == "warning"
    assert Problem.of("NOT_BREAST", "a knee").severity == "error"


def test_reasons_that_concern_no_reader_are_known_codes() -> None:
    assert set(PROBLEM_CODES) >= NOT_FOR_READERS


def test_numbers_are_rounded_before_they_are_written() -> None:
    """The last digits differ from machine to machine; the object and its UID must not."""
    noisy = replace(analysed(), measures={"enhancement_p99": 1 / 3})
    assert json.loads(noisy.to_json())["measures"] == {"enhancement_p99": 0.333333}
