"""What each error code means, and what an operator does about it: for `cutout letters`, and for docs/error-codes.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cutout.operations.dead_letters import NO_REASON, NOT_DELIVERED


@dataclass(frozen=True, slots=True)
class Advice:
    meaning: str
    remedy: str


_NOT_A_LETTER = "Nothing: it does not count as an attempt, so it is only in the log."
_PAUSED = (
    "The intake is paused meanwhile (`cutout status`), and no upload becomes a letter. `ReopenIntake` looks every five "
    "minutes whether the cause is gone; `cutout resume` reopens it at once."
)
_OUR_REQUEST = (
    "Compare Pixelcut's reference with what the function sends, and deploy a version that follows it; then "
    "`cutout letters replay --code {}`."
)

ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        NO_REASON: Advice(
            "The function could not even begin, for days: it was killed each time, refused its settings, or was not "
            "run. SQS moved the message itself after 1,000 receives.",
            "Look in the function's log for `Task timed out`, `Runtime.ExitError`, `OutOfMemory` or `ConfigError`. "
            "Fix the cause, then `cutout letters replay --code no_reason`.",
        ),
        NOT_DELIVERED: Advice(
            "EventBridge could not deliver the event to the upload queue; the function never saw it.",
            "The message says why, such as that the queue's policy does not allow it. Fix that, or deploy the stack "
            "again, then `cutout letters replay --code not_delivered`.",
        ),
        # Rejected: a letter at once.
        "bad_notification": Advice(
            "The message is not an S3 notification of an upload.",
            "Find out who sends it to the upload queue. A replay would fail again: "
            "`cutout letters discard --code bad_notification`.",
        ),
        "output_key_conflict": Advice(
            "The cutout's key is taken by another upload's cutout, or by an object that is not a cutout.",
            "Upload it under another name (`cutout upload`), and discard the letter. Or choose an `OutputKey` that "
            "keeps them apart, or move what is in the way; then `cutout letters replay --code output_key_conflict`.",
        ),
        "output_key_too_long": Advice(
            "The cutout's key would be longer than the 1,024 bytes that S3 allows.",
            "Upload it under a shorter key (`cutout upload`), then "
            "`cutout letters discard --code output_key_too_long`.",
        ),
        "file_size_too_large": Advice(
            "The file is larger than 25 MB.",
            "Save it smaller and upload it again (`cutout upload`), then "
            "`cutout letters discard --code file_size_too_large`.",
        ),
        "resolution_too_high": Advice(
            "The image is wider or higher than 6,000 pixels.",
            "Scale it down and upload it again (`cutout upload`), then "
            "`cutout letters discard --code resolution_too_high`.",
        ),
        "resolution_too_low": Advice(
            "The image is narrower or lower than 64 pixels.",
            "Find a larger original and upload it (`cutout upload`), then "
            "`cutout letters discard --code resolution_too_low`.",
        ),
        "malformed_image": Advice(
            "The file is empty, cut short or damaged.",
            "Upload it again, whole (`cutout upload`), then `cutout letters discard --code malformed_image`.",
        ),
        "unsupported_image_format": Advice(
            "The file is not an image, or one in a format that Pixelcut does not take.",
            "Convert it to JPEG or PNG and upload that (`cutout upload`), then "
            "`cutout letters discard --code unsupported_image_format`.",
        ),
        "unknown_foreground": Advice(
            "Pixelcut found no subject in the image.",
            "Choose or crop another picture and upload it (`cutout upload`), then "
            "`cutout letters discard --code unknown_foreground`.",
        ),
        # Unavailable: a letter after the last attempt.
        "request_refused": Advice(
            "Pixelcut refused the request without a code that says why.",
            "Read the message. Where nothing is wrong with the image, ask Pixelcut's support; then "
            "`cutout letters replay --code request_refused`.",
        ),
        "invalid_parameter": Advice(
            "Pixelcut refused a parameter; it may be that it could not fetch the image in time.",
            "Read the message. If the image could not be fetched, raise `PresignedUrlSeconds`, or deploy with "
            "`ImageDelivery=upload`; then `cutout letters replay --code invalid_parameter`.",
        ),
        "missing_parameter": Advice(
            "Pixelcut says that a parameter is missing: its API has changed, or something between alters requests.",
            _OUR_REQUEST.format("missing_parameter"),
        ),
        "invalid_request_body": Advice(
            "Pixelcut could not read the request: its API has changed, or something between alters requests.",
            _OUR_REQUEST.format("invalid_request_body"),
        ),
        "unsupported_content_type": Advice(
            "Pixelcut did not take the request's type: its API has changed, or something between alters requests.",
            _OUR_REQUEST.format("unsupported_content_type"),
        ),
        "forbidden": Advice(
            "Pixelcut, or a firewall before it, forbids the request for this image.",
            "Read the message. Where nothing is wrong with the image, ask Pixelcut's support; then "
            "`cutout letters replay --code forbidden`.",
        ),
        "service_unavailable": Advice(
            "Pixelcut was not reached, did not answer in time, or failed. After two calls without an answer, each of "
            "which may have been charged for, a third is not made.",
            "Wait until it is well again, then `cutout letters replay --code service_unavailable`.",
        ),
        "unexpected_answer": Advice(
            "Pixelcut answered something that its reference does not describe.",
            "Check `PixelcutApiUrl`, and whether the API has changed; then "
            "`cutout letters replay --code unexpected_answer`.",
        ),
        "result_unavailable": Advice(
            "The result is paid for, but its host did not give it out.",
            "`cutout letters replay --code result_unavailable`, soon: within an hour of the payment the paid result "
            "is used, afterwards it is paid again.",
        ),
        "result_gone": Advice(
            "The result was paid for, but was not there any more.",
            "`cutout letters replay --code result_gone`; it is paid again. If it recurs, ask Pixelcut's support.",
        ),
        "result_invalid": Advice(
            "The result was paid for, but is not a whole PNG with transparency.",
            "`cutout letters replay --code result_invalid`; it is paid again. If it recurs, ask Pixelcut's support.",
        ),
        "storage_unavailable": Advice(
            "S3, SQS, DynamoDB or Secrets Manager failed, or refused the function.",
            "The message names the service. Where it says AccessDenied, fix the function's permissions or those of a "
            "KMS key; then `cutout letters replay --code storage_unavailable`.",
        ),
        "unexpected_error": Advice(
            "A fault of the function itself, or the function was stopped each time while it worked on this upload.",
            "Its log says where (`cutout letters show` says how to find it). Deploy a version without the fault, or "
            "with more memory, then "
            "`cutout letters replay --code unexpected_error`.",
        ),
        # These do not count as attempts of the upload.
        "rate_limit_exceeded": Advice(
            "Pixelcut's request rate was exceeded; the upload is retried.",
            f"{_NOT_A_LETTER} Where it is frequent, lower `RequestsPerSecond`.",
        ),
        "in_progress": Advice("Another delivery of the same upload is in flight.", _NOT_A_LETTER),
        "intake_paused": Advice("The intake was paused while the upload was on its way.", _NOT_A_LETTER),
        "out_of_time": Advice(
            "An invocation had too little time left for the upload; the next one takes it.", _NOT_A_LETTER
        ),
        # AccountBlocked: the intake is paused.
        "api_key_missing": Advice(
            "The stack's secret holds no usable API key.",
            f"Put the Pixelcut key into the secret. {_PAUSED}",
        ),
        "invalid_auth_token": Advice(
            "Pixelcut does not know the API key.",
            f"Put the right key into the stack's secret. {_PAUSED}",
        ),
        "insufficient_api_credits": Advice(
            "The Pixelcut account has no credits left.",
            f"Buy some. {_PAUSED}",
        ),
    }
)

# Pixelcut may answer codes that its reference does not list.
OTHER = Advice(
    "Pixelcut refused the request with a code that its reference does not list.",
    "Read the message, then `cutout letters replay --code CODE`, or discard.",
)


def advise(code: str) -> Advice:
    return ADVICE.get(code, OTHER)
