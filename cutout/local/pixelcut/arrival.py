"""When a request arrived: as the end of its header was read, not once a thread had the time to work on it."""

import time
from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

ARRIVED = "cutout.arrived"  # in the environ of a request: seconds of the monotonic clock


class TimedParser(HTTPRequestParser):
    """A channel makes one for each request, and gives it what comes."""

    arrived: float | None = None

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.arrived is None and self.headers_finished:
            self.arrived = time.monotonic()
        return taken


class TimedTask(WSGITask):
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ARRIVED] = self.request.arrived  # type: ignore[attr-defined]  # made by TimedParser
        return environ
