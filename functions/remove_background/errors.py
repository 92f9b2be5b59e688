"""Every way in which an upload can fail to become a cutout.

CutoutError
├── Rejected                      never succeeds: a letter at once
│   ├── BadNotification           bad_notification
│   ├── OutputKeyConflict         output_key_conflict
│   ├── OutputKeyTooLong          output_key_too_long
│   ├── FileSizeTooLarge          file_size_too_large
│   ├── ResolutionTooHigh         resolution_too_high
│   ├── ResolutionTooLow          resolution_too_low
│   ├── MalformedImage            malformed_image
│   ├── UnsupportedImageFormat    unsupported_image_format
│   └── UnknownForeground         unknown_foreground
├── Unavailable                   may succeed later: back to the queue
│   ├── RequestRefused            the API's own code (invalid_parameter, ...)
│   ├── Forbidden                 forbidden
│   ├── RateLimitExceeded         rate_limit_exceeded
│   ├── ServiceUnavailable        service_unavailable
│   ├── UnexpectedAnswer          unexpected_answer
│   ├── ResultUnavailable         result_unavailable
│   ├── ResultGone                result_gone
│   ├── ResultInvalid             result_invalid
│   ├── StorageUnavailable        storage_unavailable
│   ├── ChargedInVain             the code of an earlier failure
│   ├── InProgress                in_progress
│   ├── IntakePaused              intake_paused
│   ├── OutOfTime                 out_of_time
│   └── UnexpectedError           unexpected_error
└── AccountBlocked                every upload would fail the same way
    ├── ApiKeyMissing             api_key_missing
    ├── InvalidApiKey             invalid_auth_token
    └── InsufficientCredits       insufficient_api_credits

A message is for a person: it says what happened and what to do, and holds no signed URL, key or result URL. It does not
say what becomes of the upload: the log and the letter do.
"""

import re
from enum import StrEnum
from typing import ClassVar

# A word that may hold a URL, a signature, a key or a token. Words of a sentence are shorter.
_SECRET = re.compile(r"\S*(?:://|[=%]|X-Amz)\S*|\S{33,}", re.IGNORECASE)


def redact(text: str) -> str:
    """Text from elsewhere, fit for a person and a log: at most 200 characters of it, and nothing secret in it.

    What cannot be printed is dropped: a lone surrogate, which JSON can hold, has no UTF-8.
    """
    printable = "".join(filter(str.isprintable, " ".join(text.split())))
    return _SECRET.sub("[redacted]", printable)[:200]


class Billed(StrEnum):
    """Whether Pixelcut charged a credit for an upload that did not become a cutout."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"

    def or_worse(self, other: "Billed") -> "Billed":
        return max(self, other, key=list(Billed).index)


class CutoutError(Exception):
    """`is_final`: to retry would cost another credit, and is not worth it.

    `counts_as_charge`: no answer came to the request that was sent, or one that is not documented: it may be charged.
    """

    code: ClassVar[str]
    billed: Billed = Billed.NO
    is_final: bool = False
    counts_as_charge: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Rejected(CutoutError):
    """The upload can never become a cutout. `is_about_image`: as long as its bytes are what they are."""

    is_about_image: bool = True


class Unavailable(CutoutError):
    """The upload may become a cutout later; `retry_after` is the least to wait, in seconds, where that is known.

    `is_its_own`: it may be the upload's own fault. It always counts as an attempt, so that the upload gets its letter
    in the end. `may_be_general`: others may fail the same way; when many in a row do, the intake is paused.
    """

    retry_after: float | None = None
    is_its_own: bool = False
    may_be_general: bool = True


class AccountBlocked(CutoutError):
    """The account must be fixed before any upload can become a cutout."""


class BadNotification(Rejected):
    """A message that is not an S3 notification of an upload."""

    code = "bad_notification"
    is_about_image = False


class OutputKeyConflict(Rejected):
    """The output key belongs to another upload's cutout, or to an object that is not a cutout."""

    code = "output_key_conflict"
    is_about_image = False


class OutputKeyTooLong(Rejected):
    """The output key would be longer than the 1,024 bytes that S3 allows."""

    code = "output_key_too_long"
    is_about_image = False


class FileSizeTooLarge(Rejected):
    code = "file_size_too_large"


class ResolutionTooHigh(Rejected):
    code = "resolution_too_high"


class ResolutionTooLow(Rejected):
    """Our own code: Pixelcut documents the limit of 64x64 pixels, but no code for it."""

    code = "resolution_too_low"


class MalformedImage(Rejected):
    code = "malformed_image"


class UnsupportedImageFormat(Rejected):
    code = "unsupported_image_format"


class UnknownForeground(Rejected):
    code = "unknown_foreground"


class RequestRefused(Unavailable):
    """A 400 that is about the request, not about the image, or one with a code that is not documented.

    It carries the API's own code. It is retried: an `image_url` that the service could not fetch may be
    reported this way, too.
    """

    code = "request_refused"
    is_its_own = True
    may_be_general = False

    def __init__(self, message: str, api_code: str | None = None) -> None:
        super().__init__(message)
        if api_code and api_code not in _OUR_CODES:  # what we mean by one of ours would mislead
            self.code = api_code  # type: ignore[misc]  # narrower than its class, on purpose


class Forbidden(Unavailable):
    """A 403 that does not say that the credits are used up. A firewall may send it about one image's URL."""

    code = "forbidden"
    is_its_own = True


class RateLimitExceeded(Unavailable):
    code = "rate_limit_exceeded"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceUnavailable(Unavailable):
    """Pixelcut could not be reached, did not answer in time, or answered 5xx."""

    code = "service_unavailable"


class UnexpectedAnswer(Unavailable):
    """Pixelcut answered something that its reference does not describe."""

    code = "unexpected_answer"
    billed = Billed.MAYBE
    counts_as_charge = True


class ResultUnavailable(Unavailable):
    """The paid result could not be fetched this time."""

    code = "result_unavailable"
    billed = Billed.YES


class ResultGone(ResultUnavailable):
    """The paid result is not there any more."""

    code = "result_gone"


class ResultInvalid(ResultUnavailable):
    """The paid result is not a whole PNG with transparency."""

    code = "result_invalid"


class StorageUnavailable(Unavailable):
    """S3, SQS, DynamoDB or Secrets Manager refused or failed."""

    code = "storage_unavailable"


class ChargedInVain(Unavailable):
    """The upload, or one of the same bytes under the same key, was charged for without a cutout: with its code."""

    code = "unexpected_error"
    is_final = True
    may_be_general = False

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code or self.code  # type: ignore[misc]  # narrower than its class, on purpose


class InProgress(Unavailable):
    """Another delivery of the same upload is being worked on."""

    code = "in_progress"


class IntakePaused(Unavailable):
    """The intake is paused; or it is on probation (not `is_paused`), and another upload is tried first."""

    code = "intake_paused"
    is_paused: bool = True


class OutOfTime(Unavailable):
    """The invocation has too little time left for the next step."""

    code = "out_of_time"

    @classmethod
    def of_the_day(cls) -> "OutOfTime":
        """Of a request whose credit is reserved for a day of a cap."""
        return cls("The day in which the request was to be sent has ended.")


class UnexpectedError(Unavailable):
    """A fault of ours: the log has the traceback."""

    code = "unexpected_error"
    billed = Billed.MAYBE
    is_its_own = True


class ApiKeyMissing(AccountBlocked):
    """The secret holds no usable API key."""

    code = "api_key_missing"


class InvalidApiKey(AccountBlocked):
    code = "invalid_auth_token"


class InsufficientCredits(AccountBlocked):
    code = "insufficient_api_credits"


def _codes_of(error: type[CutoutError]) -> set[str]:
    return {error.__dict__.get("code", "")}.union(*map(_codes_of, error.__subclasses__()))


# The last two are given by the command to letters that the function did not write.
_OUR_CODES = _codes_of(CutoutError) | {"no_reason", "not_delivered"}
