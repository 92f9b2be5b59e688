"""What the errors of boto3 say. Importing it changes nothing, so that the command may as well."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

AwsError = (ClientError, BotoCoreError)


class NotRepeatedError(BotoCoreError):
    """A call that failed in a way in which the SDK would repeat it, and that must not be: it may have been applied."""

    fmt = "The call is not repeated."


def error_code(error: BaseException | None) -> str:
    """AWS's code for the error; the name of its class where there was no answer. Its text may hold a URL."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "Unknown")
    return type(error).__name__


def http_status(error: Exception) -> int | None:
    if isinstance(error, ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return None


def refused_item(error: Exception) -> Mapping[str, Any] | None:
    """The item as it is, where the condition of a write to DynamoDB failed; None for any other error.

    Empty without `ReturnValuesOnConditionCheckFailure`, or where there is no item.
    """
    if isinstance(error, ClientError) and error_code(error) == "ConditionalCheckFailedException":
        item: Mapping[str, Any] = error.response.get("Item", {})  # type: ignore[assignment]  # not in the stubs
        return item
    return None
