"""The API's error answers."""

from flask import Response, jsonify
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from cutout.local.pixelcut.faults import default_error_code


class ApiError(Exception):
    """An error answer of the API; the message is the `error` in its body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def no_credits() -> ApiError:
    return ApiError(403, "insufficient_api_credits", "Insufficient credits available")


def too_large() -> ApiError:
    return ApiError(400, "file_size_too_large", "File size too large")


def error_answer(status: int, code: str, message: str) -> Response:
    answer = jsonify(error=message, error_code=code)
    answer.status_code = status
    return answer


def answer_http_error(error: HTTPException) -> Response:
    """In JSON, with the headers of the original answer (`Allow`)."""
    status = error.code or 500
    answer = error_answer(status, default_error_code(status), error.description or error.name)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer.headers["Allow"] = ", ".join(error.valid_methods)
    return answer


def answer_wrong_switch(error: ValidationError) -> Response:
    return error_answer(400, "invalid_switch", str(error))
