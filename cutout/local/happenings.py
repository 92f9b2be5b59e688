"""Events of the local cloud as lines: each upload, and what became of it."""

import json
from collections.abc import Callable
from datetime import datetime

from rich.filesize import decimal

from cutout.local.cloud import Watcher


class Happenings(Watcher):
    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` is called in several threads."""
        self._say = say

    def uploaded(self, key: str, size: int) -> None:
        self._tell(f"{key}: uploaded, {decimal(size)}")

    def printed(self, line: str) -> None:
        """The function logs a line for each upload that ended, and for each failure."""
        try:
            entry = json.loads(line)
        except ValueError:
            return  # of the runtime
        if not isinstance(entry, dict) or "message" not in entry:
            return
        why = ": ".join(str(entry[name]) for name in ("error_code", "error_message") if name in entry)
        what = f"{entry['message']}, {why}" if why else entry["message"]
        if source := entry.get("source"):
            key = source.removeprefix("s3://").partition("/")[2]
            self._tell(f"{key}: {what}")
        elif entry.get("level") != "INFO":
            self._tell(what)

    def _tell(self, what: str) -> None:
        self._say(f"{datetime.now().astimezone():%H:%M:%S}  {what}")
