"""Errors as one sentence for a person, with the remedy."""

from typing import TypeGuard

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
    exceptions.UnauthorizedSSOTokenError,
)
_NOT_ANSWERED = (exceptions.ConnectionError, exceptions.HTTPClientError)
_BAD_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
# Their answers give no reason, and expired keys get a 400.
_WITHOUT_BODY = {"HeadObject", "HeadBucket"}
_NOT_ALLOWED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}
# As the SDK knows them: it has repeated the call before it gives up.
_THROTTLED = {
    "PriorRequestNotComplete", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "SlowDown", "ThrottledException", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
}  # fmt: skip
# The answers of an endpoint that lacks the service that was called.
_NO_SUCH_SERVICE = {
    "InvalidAction", "MethodNotAllowed", "NotImplemented", "UnknownOperation", "UnknownOperationException",
}  # fmt: skip
_WHERE_TO_LOOK = "Look at AWS_ENDPOINT_URL (--endpoint-url), and at HTTPS_PROXY."


class Failure(Exception):
    """Ends the command with exit code 1; its text says what happened and what to do."""


class NotAws(BotoCoreError):
    """The answer did not come from AWS, but from another server or a proxy."""

    fmt = "{endpoint_url} is not AWS: its answer to {operation} ({status}, {content_type}) is not one of AWS's."


def is_told(error: Exception) -> TypeGuard[Failure | BotoCoreError | ClientError]:
    """Whether `describe` has a sentence for it."""
    return isinstance(error, Failure | BotoCoreError | ClientError) or _is_unreadable(error)


def _is_unreadable(error: Exception) -> bool:
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  # --help can do without

    return isinstance(error, ResponseParserError)


def is_about_credentials(error: ClientError) -> bool:
    """Whether no call will succeed before somebody logs in again."""
    return error.response.get("Error", {}).get("Code") in _BAD_CREDENTIALS


def describe(error: Failure | BotoCoreError | ClientError) -> str:
    if isinstance(error, ClientError):
        return _describe_refusal(error)
    match error:
        case _ if isinstance(error, _NO_CREDENTIALS):
            return (
                "There are no AWS credentials that can be used. Set AWS_PROFILE, or log in with `aws sso login`; "
                "for `cutout local`, paste the two export lines that it prints."
            )
        case exceptions.NoRegionError():
            return (
                "No AWS region is set. Set AWS_REGION to the one that the stack is in; "
                "for `cutout local`, paste the two export lines that it prints."
            )
        case exceptions.ProfileNotFound():
            return f"{error}. `aws configure list-profiles` lists those that there are."
        case exceptions.SSLError():
            return (
                f"The certificate of {error.kwargs['endpoint_url']} is most likely not trusted. Behind a company's "
                "proxy, set AWS_CA_BUNDLE to the file of its certificates."
            )
        case _ if isinstance(error, _NOT_ANSWERED):
            where = error.kwargs.get("endpoint_url") or "AWS"
            return f"{where} does not answer. Look at the network, AWS_REGION and AWS_ENDPOINT_URL (--endpoint-url)."
        case NotAws():
            return f"{error} {_WHERE_TO_LOOK}"
        case _ if _is_unreadable(error):
            return f"An answer cannot be read, so it is most likely not one of AWS's. {_WHERE_TO_LOOK}"
        case _:
            return str(error)


def _describe_refusal(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "Unknown")
    if code in _BAD_CREDENTIALS:
        return f"AWS does not accept the credentials ({code}). Log in again, or set another AWS_PROFILE."
    if code == "400" and error.operation_name in _WITHOUT_BODY:
        return (
            "AWS does not accept the credentials: most likely they have expired. Log in again, or set another "
            "AWS_PROFILE."
        )
    if code in _NOT_ALLOWED:
        return f"AWS does not allow these credentials to call {error.operation_name}. Ask for that permission."
    if code in _THROTTLED:
        return (
            f"AWS throttles {error.operation_name} ({code}): this account calls it too often. Wait a minute, and let "
            "fewer programs call it at a time."
        )
    if code.isdecimal() and error.operation_name not in _WITHOUT_BODY:  # a bare status instead of AWS's code
        return f"{error.operation_name} was answered with {code}, and not as AWS answers. {_WHERE_TO_LOOK}"
    if code in _NO_SUCH_SERVICE:
        return f"What answers does not know {error.operation_name} ({code}). {_WHERE_TO_LOOK}"
    message = error.response.get("Error", {}).get("Message", "")
    return f"AWS refused {error.operation_name}: {code}. {message}".rstrip()
