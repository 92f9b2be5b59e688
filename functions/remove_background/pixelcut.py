"""The Pixelcut API: the one place where an HTTP status becomes an error.

The reference is that of `POST /v1/remove-background`; what it leaves open is retried, never taken as the image's fault.
"""

import json
import math
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import IO, Any

import requests
from urllib3.exceptions import DecodeError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from .connections import CONNECT_SECONDS, FAILURES, Call, Check, call, read
from .deadline import Deadline
from .errors import (
    Billed,
    CutoutError,
    FileSizeTooLarge,
    Forbidden,
    InsufficientCredits,
    InvalidApiKey,
    MalformedImage,
    RateLimitExceeded,
    Rejected,
    RequestRefused,
    ResolutionTooHigh,
    ServiceUnavailable,
    UnexpectedAnswer,
    UnknownForeground,
    UnsupportedImageFormat,
    redact,
)

# Share of an invocation's time that is reserved for what follows the call.
RESERVE = 1 / 6
PROBE_SECONDS = 10.0
# The answers are a URL or a sentence; the reference describes nothing longer.
MAX_ANSWER_BYTES = 65_536
MAX_RESULT_URL_LENGTH = 8_192
# A longer Retry-After is obeyed for as long as SQS can delay a message.
MAX_RETRY_AFTER_SECONDS = 900.0
# Bytes of a multipart body kept in memory; the rest goes to the disk, since ten are sent at once.
SPOOL_BYTES = 1_048_576

_ABOUT_THE_IMAGE: Mapping[str, type[Rejected]] = {
    error.code: error
    for error in (
        FileSizeTooLarge,
        MalformedImage,
        ResolutionTooHigh,
        UnknownForeground,
        UnsupportedImageFormat,
    )
}
# What a gateway or a CDN answers when it has lost the API's own answer: 520 and 524 are Cloudflare's.
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
_OF_A_GATEWAY = (502, 504, 520, 524)
# The other codes of a 400 that the reference lists. What it does not list, such as a moderation's, may be charged.
_ABOUT_THE_REQUEST = {"invalid_request_body", "missing_parameter", "invalid_parameter", "unsupported_content_type"}


class Pixelcut:
    def __init__(
        self,
        session: requests.Session,
        api_url: str,
        api_key: Callable[[bool], str],
        slot: Callable[[Deadline], AbstractContextManager[Check | None]],
    ) -> None:
        """`api_key(fresh)` returns the key, read again from its source when `fresh`.

        `slot(deadline)` is entered for each request that may cost something, when everything is ready: work between the
        slot and the request would make requests bunch. It gives what is to be called when the request is about to be
        sent, however long its connection took: it raises a CutoutError where that may not begin any more.
        """
        self._slot = slot
        self._session = session
        self._url = f"{api_url.rstrip('/')}/v1/remove-background"
        self._credits_url = f"{api_url.rstrip('/')}/v1/credits"
        self._api_key = api_key

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        """Have the service fetch an image; returns the `result_url` that was paid for."""
        body = json.dumps({"image_url": image_url, "format": "png"}).encode()
        return self._post(body, "application/json", deadline)

    def remove_background_of_image(self, image: Iterable[bytes], format_: str | None, deadline: Deadline) -> str:
        """Send the image itself; returns the `result_url` that was paid for.

        `format_` is the last part of its media type ("jpeg"), None where it is not known.
        """
        boundary = secrets.token_hex(16)
        media_type = f"image/{format_}" if format_ else "application/octet-stream"
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as body:
            body.write(
                f'--{boundary}\r\nContent-Disposition: form-data; name="format"\r\n\r\npng\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image.{format_ or "bin"}"\r\n'
                f"Content-Type: {media_type}\r\n\r\n".encode()
            )
            for chunk in image:  # one by one: `writelines` would keep them all in memory
                body.write(chunk)
            body.write(f"\r\n--{boundary}--\r\n".encode())
            return self._post(body, f"multipart/form-data; boundary={boundary}", deadline)

    def read_credits(self) -> float | None:
        """The credits left; None where the service is there, but does not say. Costs nothing."""
        key = self._api_key(True)
        request = self._prepare("GET", self._credits_url, {"X-API-KEY": key})
        status, headers, answer = self._send(request, Deadline(PROBE_SECONDS))
        if status == requests.codes.not_found:
            return None
        if status != requests.codes.ok:
            raise _error(status, headers, answer, key)
        try:
            left = float(answer["credits_remaining"])  # documented as a string, and shown as a number
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return left if math.isfinite(left) else None

    def _post(self, body: bytes | IO[bytes], content_type: str, deadline: Deadline) -> str:
        key = self._api_key(False)
        try:
            return self._post_with(key, body, content_type, deadline)
        except InvalidApiKey:
            # The key may have been replaced since it was read. A 401 is not billed.
            fresh_key = self._api_key(True)
            if fresh_key == key:
                raise
        return self._post_with(fresh_key, body, content_type, deadline)

    def _post_with(self, key: str, body: bytes | IO[bytes], content_type: str, deadline: Deadline) -> str:
        if not isinstance(body, bytes):
            body.seek(0)
        request = self._prepare("POST", self._url, {"X-API-KEY": key, "Content-Type": content_type}, body)
        with self._slot(deadline) as check:
            status, headers, answer = self._send(request, deadline, reserve=RESERVE, check=check)
            if _is_success(status):
                return _result_url(status, answer)
            raise _error(status, headers, answer, key)

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None
    ) -> requests.PreparedRequest:
        """Raises ServiceUnavailable where no request can be made of these."""
        headers = {**headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            return self._session.prepare_request(requests.Request(method, url, headers, data=body))
        except FAILURES:
            # `from None`, here and below: the text of the original holds URLs.
            raise ServiceUnavailable("No request to Pixelcut could be made. Look at the URL of its API.") from None

    def _send(
        self,
        request: requests.PreparedRequest,
        deadline: Deadline,
        *,
        reserve: float = 0,
        check: Check | None = None,
    ) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        """Status, headers and JSON object of the answer.

        Raises OutOfTime and what `check` does before it is sent, and ServiceUnavailable.
        """
        # As `Session.request` does: the command may have to reach the API through a proxy with certificates of its own.
        settings = self._session.merge_environment_settings(request.url, {}, True, None, None)
        seconds = deadline.remaining(reserve=reserve)
        with call(deadline, reserve=reserve, check=check) as current:
            try:
                with self._session.send(
                    request, timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, **settings
                ) as response:
                    return response.status_code, response.headers, _read_answer(response)
            except FAILURES as error:
                raise _no_answer(error, current) from None


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # the class of successes: only 200 is documented, but each may have been charged


def _read_answer(response: requests.Response) -> dict[str, Any]:
    """The JSON object that was answered; empty for anything else, such as a proxy's HTML.

    Without its body a success is lost, and raises one of FAILURES. Any other status says enough by itself.
    """
    try:
        return _read_json(response)
    except DecodeError:
        return {}
    except FAILURES:
        if _is_success(response.status_code):
            raise
        return {}


def _read_json(response: requests.Response) -> dict[str, Any]:
    content = b""
    for chunk in read(response):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            return {}
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _result_url(status: int, answer: Mapping[str, Any]) -> str:
    match answer:
        case {"result_url": str(url)} if url.isprintable() and 0 < len(url) <= MAX_RESULT_URL_LENGTH:
            return url
    error = UnexpectedAnswer(f"Pixelcut answered {status} without a readable result_url.")
    error.billed = Billed.YES
    raise error


def _no_answer(error: Exception, current: Call) -> CutoutError:
    in_time = not (current.is_over or isinstance(error, requests.Timeout | TimeoutError | Urllib3TimeoutError))
    unavailable = ServiceUnavailable(
        "The connection to Pixelcut failed." if in_time else "Pixelcut did not answer in time."
    )
    unavailable.billed = Billed.MAYBE if current.sent else Billed.NO
    unavailable.counts_as_charge = current.sent
    return unavailable


def _error(status: int, headers: Mapping[str, str], answer: Mapping[str, Any], key: str) -> CutoutError:
    """The error for an answer other than 200."""
    code = answer.get("error_code")
    code = code if isinstance(code, str) and re.fullmatch(r"[a-z0-9_]{1,64}", code) else None
    reason = answer.get("error")
    said = f" ({redact(reason.replace(key, '[redacted]'))})" if isinstance(reason, str) else ""
    match status:
        case 400 if code and code in _ABOUT_THE_IMAGE:
            return _ABOUT_THE_IMAGE[code](f"Pixelcut cannot process this image{said}.")
        case 400:
            refused = RequestRefused(f"Pixelcut refused the request, not the image{said}.", code)
            refused.counts_as_charge = code not in _ABOUT_THE_REQUEST
            refused.billed = Billed.MAYBE if refused.counts_as_charge else Billed.NO
            return refused
        case 401:
            return InvalidApiKey("Pixelcut does not know the API key. Put the right one into the stack's secret.")
        case 402 | 403 if code == InsufficientCredits.code:
            return InsufficientCredits("The Pixelcut account has no credits left. Buy some.")
        case 403:
            return Forbidden(f"Pixelcut forbids the request{said}. Look at the account, or ask Pixelcut's support.")
        case 429:
            return RateLimitExceeded("Pixelcut's request rate was exceeded.", _retry_after(headers))
        case _ if status >= 500:  # the class of server errors
            unavailable = ServiceUnavailable(f"Pixelcut answered {status}.")
            unavailable.billed = Billed.MAYBE
            unavailable.counts_as_charge = status in _OF_A_GATEWAY
            return unavailable
        case _:
            return UnexpectedAnswer(f"Pixelcut answered {status}, which its reference does not describe{said}.")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After`; its other form, a date, is left to the backoff."""
    value = headers.get("Retry-After", "").strip()
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isdecimal() else None
