"""The log file of what was changed through the console: a line of JSON for each change."""

import getpass
import json
import threading
from datetime import UTC, datetime
from pathlib import Path


class Changes:
    def __init__(self, path: Path, stack: str) -> None:
        """Raises OSError if the file cannot be written."""
        self.path = path
        self._stack = stack
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()

    def note(self, action: str, **details: object) -> None:
        """Call before the change, so that none is without its line. Raises OSError."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "stack": self._stack,
            "user": getpass.getuser(),
            "action": action,
        }
        with self._lock, self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line | details) + "\n")
