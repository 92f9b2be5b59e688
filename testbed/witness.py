"""A stand-in that records its requests, in its own process, so that a busy local cloud does not delay it.

A request that is noticed late would seem too close to the next one, which would be refused.
"""

import gc
import hashlib
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from typing import cast

from flask import Flask, Response, g, request

from cutout.local.pixelcut.arrival import ARRIVED
from cutout.local.pixelcut.removal_request import source_of
from cutout.local.pixelcut.server import StandIn
from cutout.local.pixelcut.trickle import SLOW

# Longer than the function waits for the paid call.
PAST_PATIENCE_SECONDS = 16.0
OK = 200  # also of an answer that was dropped
SWITCH_SECONDS = 0.0005  # after which a thread leaves the interpreter to the next one


@dataclass(frozen=True, slots=True)
class Removal:
    """A request for a removal: when it came and was answered (seconds since the epoch), and what it cost."""

    came: float
    answered: float
    status: int
    input_sha256: str | None  # None: nothing was charged
    result_sha256: str | None
    result_url: str | None  # as it was answered; None: it was not
    source: str = ""  # the path of the image_url
    slow: bool = False  # the answer was sent byte by byte, or in part

    @property
    def answer_is_lost(self) -> bool:
        """Whether no answer was sent, or the function may not have received it."""
        return (
            self.slow
            or self.answered - self.came >= PAST_PATIENCE_SECONDS
            or (self.status == OK and not self.result_url)
        )


class WitnessedStandIn(StandIn):
    """Only its methods can be called from another process."""

    def __init__(self) -> None:
        super().__init__(quick=True)
        self._removals: list[Removal] = []

    def start(self) -> str:
        """Returns its URL."""
        logging.getLogger("waitress").setLevel(logging.ERROR)  # an answer cut short on purpose is not worth a log line
        url = self.__enter__().url
        # A request must not wait to be noticed until another is worked on for 5 ms, or garbage is collected for 100.
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.freeze()
        return url

    def stop(self) -> None:
        self.__exit__()

    def removals(self) -> list[Removal]:
        """In the order of the requests."""
        return sorted(self._removals, key=lambda removal: removal.came)

    def charges(self) -> list[Removal]:
        return [removal for removal in self.removals() if removal.input_sha256]

    def credits_charged(self) -> int:
        return sum(removal.input_sha256 is not None for removal in list(self._removals))

    def _app(self) -> Flask:
        app = super()._app()
        app.before_request(self._begin)
        app.after_request(self._end)
        return app

    @staticmethod
    def _begin() -> None:
        g.came = time.time() - (time.monotonic() - request.environ[ARRIVED])
        g.charged = (None, None)

    def _charge(self, image: bytes, source: str | None, result: bytes) -> None:
        super()._charge(image, source, result)
        g.charged = (hashlib.sha256(image).hexdigest(), hashlib.sha256(result).hexdigest())

    def _end(self, answer: Response) -> Response:
        if request.endpoint == "removal":
            told = answer.get_json(silent=True) or {}
            image, result = g.charged
            self._removals.append(
                Removal(
                    came=g.came,
                    answered=time.time(),
                    status=answer.status_code,
                    input_sha256=image,
                    result_sha256=result,
                    result_url=told.get("result_url"),
                    source=source_of(request),
                    slow=SLOW in request.environ,
                )
            )
        return answer


class _Manager(BaseManager):
    """Of the process."""


_CALLS = ("start", "stop", "removals", "charges", "credits_charged", "change_settings", "set_faults", "state")
_Manager.register("make", WitnessedStandIn, exposed=_CALLS)


@contextmanager
def witnessed() -> Iterator[tuple[WitnessedStandIn, str]]:
    """With its URL."""
    with _Manager(ctx=multiprocessing.get_context("spawn")) as manager:
        stand_in = cast("WitnessedStandIn", manager.make())  # type: ignore[attr-defined]  # registered
        url = stand_in.start()
        try:
            yield stand_in, url
        finally:
            stand_in.stop()
