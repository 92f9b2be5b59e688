"""Pixelcut in memory: the service and the results that the use case is given, and what they change in the world.

What it can answer is written as the outcome's name: ok, and those of OUTCOMES.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from remove_background import errors
from remove_background.deadline import Deadline
from remove_background.models import Result

from .processes import Answer, call
from .state import State

RESULT_SECONDS = 3600.0
PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x64\0\0\0\x64\x08\x06\0\0\0"  # of 100x100 pixels; the rest is not looked at


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
    "403": False,  # that is not about the credits
    "400": False,  # with a code that is not about the image
    "429": False,
    "rejected": False,  # 400 with a code about the image
    "credits": False,
}


def _error(code: str) -> errors.CutoutError:
    match code:
        case "failed":
            error: errors.CutoutError = errors.ServiceUnavailable("The connection to Pixelcut failed.")
            error.billed = errors.Billed.NO
        case "lost":
            error = errors.ServiceUnavailable("Pixelcut did not answer in time.")
            error.billed = errors.Billed.MAYBE
            if hasattr(error, "answer_lost"):
                error.answer_lost = True
        case "500":
            error = errors.ServiceUnavailable("Pixelcut answered 500.")
            error.billed = errors.Billed.MAYBE
        case "no_url":
            error = errors.UnexpectedAnswer("Pixelcut answered 200 without a result_url.")
        case "403":
            forbidden = getattr(errors, "Forbidden")
            error = forbidden("Pixelcut forbids the request.")
        case "400":
            error = errors.RequestRefused("Pixelcut refused the request.", "invalid_parameter")
        case "429":
            error = errors.RateLimitExceeded("Pixelcut's request rate was exceeded.")
        case "rejected":
            error = errors.UnknownForeground("Pixelcut cannot process this image.")
        case _:
            error = errors.InsufficientCredits("The Pixelcut account has no credits left.")
    return error


class Service:
    """`turn` is entered for each request that may cost something, as remove_background.pixelcut does."""

    def __init__(self, turn: Callable[[Deadline], AbstractContextManager[None]]) -> None:
        self._turn = turn

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        call("secrets", "get_secret_value")
        with self._turn(deadline):
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
    state.results = tuple((known, until, content, quality if known == url else was) for known, until, content, was in state.results)


def read_credits(state: State) -> Answer:
    return Answer(0.0 if state.blocked == "credits" else 100.0)


