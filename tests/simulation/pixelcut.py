"""Pixelcut in memory: the service and the results that the use case is given, and what they change in the world.

What it can answer is written as the outcome's name: ok, and those of OUTCOMES.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import requests

from remove_background import errors, pixelcut
from remove_background.deadline import Deadline
from remove_background.models import Result

from .processes import Answer, call
from .state import State

RESULT_SECONDS = 3600.0
PNG_HEAD = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x64\0\0\0\x64\x08\x06\0\0\0"  # of 100x100 pixels; the rest is not looked at
)


def image(name: str) -> bytes:
    """The bytes of an upload."""
    return PNG_HEAD + name.encode()


def cutout_of(content: bytes) -> bytes:
    """The same for each call with the same bytes: S3 compares cutouts by their ETags."""
    return b"cutout of " + content.removeprefix(PNG_HEAD)


# Whether each outcome of the paid call other than ok is charged.
OUTCOMES = {
    "failed": False,  # not connected
    "lost": True,  # charged, and its answer lost
    "500": False,
    "no_url": True,  # 200 without a readable result_url
    "odd": True,  # a status that the reference does not describe
    "403": False,  # that is not about the credits
    "400": False,  # with a code that is not about the image
    "429": False,
    "rejected": False,  # 400 with a code about the image
    "credits": False,
    "kill": True,  # the function is killed while it waits for the answer
}


_ANSWERS: dict[str, tuple[int, dict[str, str]]] = {
    "500": (500, {}),
    "odd": (402, {}),
    "403": (403, {}),
    "400": (400, {"error_code": "invalid_parameter"}),
    "429": (429, {}),
    "rejected": (400, {"error_code": "unknown_foreground"}),
    "credits": (403, {"error_code": "insufficient_api_credits"}),
}


def _error(code: str) -> errors.CutoutError:
    """What the client itself makes of such an answer."""
    if code in ("failed", "lost"):
        current: Any = SimpleNamespace(sent=code == "lost", is_over=False)
        return pixelcut._no_answer(requests.Timeout(), current)
    if code == "no_url":
        try:
            pixelcut._result_url(200, {})
        except errors.CutoutError as error:
            return error
    status, answer = _ANSWERS[code]
    return pixelcut._error(status, {}, answer, "key")


class Service:
    """`slot` is entered for each request that may cost something, as remove_background.pixelcut does.

    It takes so many `seconds` until a request is connected.
    """

    def __init__(self, slot: Callable[[Deadline], AbstractContextManager[Any]], seconds: float = 0.0) -> None:
        self._slot = slot
        self._seconds = seconds

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        call("secrets", "get_secret_value")
        with self._slot(deadline) as check:
            if self._seconds:
                call("clock", "sleep", self._seconds)
            check()
            answer = call("pixelcut", "post", image_url)
            if answer.error:
                raise _error(answer.error)
            return str(answer.value)

    def remove_background_of_image(self, *_: object) -> str:
        raise NotImplementedError

    def read_credits(self) -> float | None:
        answer = call("pixelcut", "credits")
        if answer.error:
            raise errors.ServiceUnavailable("The connection to Pixelcut failed.")
        return float(answer.value)


class Results:
    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        answer = call("pixelcut", "fetch", result_url)
        match answer.error:
            case None:
                yield Result(io.BytesIO(answer.value), len(answer.value), "")
            case "gone":
                raise errors.ResultGone("The result is not there any more.")
            case "broken":
                raise errors.ResultInvalid("The result is cut short.")
            case _:
                raise errors.ResultUnavailable("The result could not be downloaded.")


def fetch(state: State, url: str) -> Answer:
    for known, until, content, quality in state.results:
        if known == url:
            if quality != "fine":
                return Answer(None, quality)
            return Answer(content) if until >= state.clock else Answer(None, "gone")
    return Answer(None, "gone")


def add_result(state: State, url: str, content: bytes, quality: str = "fine") -> None:
    state.results = tuple(sorted((*state.results, (url, state.clock + RESULT_SECONDS, cutout_of(content), quality))))


def spoil(state: State, url: str, quality: str) -> None:
    state.results = tuple(
        (known, until, content, quality if known == url else was) for known, until, content, was in state.results
    )


def read_credits(state: State) -> Answer:
    return Answer(0.0 if state.blocked == "credits" else 100.0)
