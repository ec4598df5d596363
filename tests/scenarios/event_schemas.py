"""Checks events from the bus against `events/schemas/`: `validate(event)`."""

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

SCHEMAS = Path(__file__).resolve().parents[2] / "events" / "schemas"

# jsonschema checks `date-time` only with a further package.
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@functools.cache
def _validators(folder: Path) -> dict[str, Draft202012Validator]:
    """The validator of each event, by `detail-type`."""
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return {schema["title"]: Draft202012Validator(schema, format_checker=FORMATS) for schema in schemas}


def validate(event: Mapping[str, Any], folder: Path = SCHEMAS) -> list[str]:
    """Returns what is wrong with an event in EventBridge's envelope by the schemas of a folder, one text for each error. An empty list: the event is valid."""
    detail_type = event.get("detail-type")
    validator = _validators(folder).get(str(detail_type))
    if validator is None:
        return [f"no schema for detail-type {detail_type!r}"]
    return [f"{detail_type}: {error.json_path}: {error.message}" for error in validator.iter_errors(event)]
