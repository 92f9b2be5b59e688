"""When a request arrived: as its first byte was read, not once a thread had the time to work on it."""

import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

ARRIVED = "cutout.arrived"  # in the environ of a request: seconds of the monotonic clock


class TimedParser(HTTPRequestParser):
    """A channel makes one for each request, when the first of it is there."""

    def __init__(self, adjustments: Adjustments) -> None:
        super().__init__(adjustments)
        self.arrived = time.monotonic()


class TimedTask(WSGITask):
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[ARRIVED] = self.request.arrived  # type: ignore[attr-defined]  # made by TimedParser
        return environ
