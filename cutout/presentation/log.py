"""An event of a log, as a line that a person reads."""

import json
from datetime import UTC, datetime

from cutout.operations.logs import Event
from cutout.terminal import printable

# Fields that say nothing to a person, or are shown elsewhere in the line.
_LEFT_OUT = {"level", "location", "message", "timestamp", "service", "name", "xray_trace_id"}
# Lambda's own lines about an invocation that went well.
_OF_EACH_INVOCATION = ("INIT_START ", "START RequestId: ", "END RequestId: ", "REPORT RequestId: ")
_WENT_WRONG = "Status: "


def to_line(event: Event) -> str | None:
    """None for metrics, and for Lambda's own lines about each invocation."""
    at = f"{datetime.fromtimestamp(event.time / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    fields = event.fields
    if fields is None:
        if event.message.startswith(_OF_EACH_INVOCATION) and _WENT_WRONG not in event.message:
            return None
        return f"{at} {printable(event.message.replace(chr(9), ' '))}"
    if "_aws" in fields:
        return None
    words = [fields.get("level"), fields.get("message")]
    words += [
        f"{name}={_value(value)}" for name, value in fields.items() if name not in _LEFT_OUT and value is not None
    ]
    return " ".join([at, *(printable(word) for word in words if word)])


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and (" " in text or not text) else text
