"""Rules that make the stand-in misbehave: which answers, how many, and in what way."""

import random
import threading
from collections.abc import Iterator
from typing import Literal

from flask import Response, jsonify
from pydantic import BaseModel, Field, PrivateAttr, model_validator
from waitress.channel import ClientDisconnected

Endpoint = Literal["removal", "credits", "download"]

# The reference has one code for each of 401, 403 and 429; the others are the stand-in's own.
_ERROR_CODES = {
    401: "invalid_auth_token",
    403: "insufficient_api_credits",
    404: "not_found",
    405: "method_not_allowed",
    429: "rate_limit_exceeded",
}


class Rule(BaseModel, extra="forbid", frozen=True, strict=True):
    """One way to misbehave. Fields that are left out change nothing.

    A 503 with a page: `{"on": "removal", "times": 2, "status": 503, "headers": {"Content-Type": "text/html"},
    "body": "<h1>Busy</h1>"}`. A connection lost after the credit is spent: `{"on": "removal", "after": true, "drop":
    true}`. A 200 without its URL: `{"on": "removal", "status": 200, "body": "{}"}`. A body that never comes:
    `{"on": "removal", "stall_after": 0}`; a connection lost after the headers: `{"on": "removal", "cut": 0}`.
    """

    on: Endpoint
    source: str = Field(default="", description="only if the path of image_url holds this; a download: of its result's")
    times: int | None = Field(default=None, ge=1, description="fires for so many answers; null: without end")
    rate: float = Field(default=1, ge=0, le=1, description="share of the answers for which it fires, drawn by the seed")
    after: bool = Field(default=False, description="do the work first, and charge for it")
    delay_seconds: float = Field(default=0, ge=0)
    status: int | None = Field(default=None, ge=200, le=599, description="answer this instead")
    error_code: str | None = Field(default=None, description="of a JSON error; by default the one of its status")
    body: str | None = Field(default=None, description="of the answer with this status, instead of a JSON error")
    headers: dict[str, str] = Field(default={}, description="added to the answer, whether it is replaced or not")
    drop: bool = Field(default=False, description="close the connection without an answer")
    cut: float | None = Field(default=None, ge=0, lt=1, description="send only this share of the bytes promised")
    header_bytes_per_second: int | None = Field(default=None, ge=1, description="send status and headers this slowly")
    bytes_per_second: int | None = Field(default=None, ge=1, description="send the body as slowly as this")
    stall_after: int | None = Field(default=None, ge=0, description="send so many bytes of the body, and no more")

    @model_validator(mode="after")
    def _replaces_only_with_a_status(self) -> "Rule":
        if self.status is None and (self.error_code is not None or self.body is not None):
            raise ValueError("error_code and body need a status")
        return self

    @property
    def is_slow(self) -> bool:
        speeds = (self.header_bytes_per_second, self.bytes_per_second, self.stall_after)
        return not self.drop and any(speed is not None for speed in speeds)

    def replacement(self) -> Response | None:
        """The answer that replaces the real one, if any."""
        if self.drop:
            return Response(hang_up())
        if self.status is None:
            return None
        if self.body is None:
            code = self.error_code or default_error_code(self.status)
            answer = jsonify(error="The stand-in was told to fail", error_code=code)
        else:
            answer = Response(self.body, mimetype="application/json")
        answer.status_code = self.status
        return answer

    def shape(self, answer: Response) -> Response:
        """Adds the headers, and cuts the body."""
        answer.headers.update(self.headers)
        if not self.drop and self.cut is not None:
            whole = answer.get_data()
            answer.response = [whole[: int(len(whole) * self.cut)]]
            answer.content_length = len(whole)
        return answer


class Pause:
    """A sleep that `wake` ends early, so a stop or a reset need not wait for slow answers."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    @property
    def woken(self) -> threading.Event:
        """Set by the next `wake`."""
        return self._woken

    def __call__(self, seconds: float) -> None:
        if seconds > 0:
            self._woken.wait(seconds)

    def wake(self) -> None:
        """Ends the current sleeps; later ones sleep again."""
        woken, self._woken = self._woken, threading.Event()
        woken.set()


class Faults(BaseModel, extra="forbid"):
    """The rules in force. The first one that fires applies. The same seed and order of answers give the same result."""

    seed: int = 0
    rules: list[Rule] = []
    _draw: random.Random = PrivateAttr()
    _fired: list[int] = PrivateAttr()
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def model_post_init(self, _context: object) -> None:
        self._draw = random.Random(self.seed)  # noqa: S311 (no secret is drawn)
        self._fired = [0] * len(self.rules)

    def next(self, endpoint: Endpoint, source: str) -> Rule | None:
        """The rule for the next answer of this endpoint, counted as fired."""
        with self._lock:
            for number, rule in enumerate(self.rules):
                spent = rule.times is not None and self._fired[number] >= rule.times
                applies = rule.on == endpoint and rule.source in source and not spent
                if applies and self._draw.random() < rule.rate:
                    self._fired[number] += 1
                    return rule
        return None

    def fired(self) -> list[int]:
        """How often each rule has fired, in order."""
        with self._lock:
            return list(self._fired)


def default_error_code(status: int) -> str:
    return _ERROR_CODES.get(status, "internal_service_error")


def hang_up() -> Iterator[bytes]:
    """Makes waitress close the connection before a byte is sent."""
    raise ClientDisconnected
    yield b""
