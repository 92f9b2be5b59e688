"""Reads a request for a removal: the image that it sends, or the one behind its `image_url`."""

import time
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from flask import Request, request
from pydantic import TypeAdapter
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from cutout.local.pixelcut.errors import ApiError, too_large

MAX_IMAGE_BYTES = 26_214_400

_FETCH_SECONDS = 20
_JSON_OBJECT = TypeAdapter(dict[str, Any])


class StrictRequest(Request):
    """A request whose broken multipart body is an error instead of an empty form."""

    def make_form_data_parser(self) -> FormDataParser:
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser


def read_image() -> tuple[bytes, str | None]:
    """The bytes of the request's image and, if they were fetched, the path of their URL."""
    parameters = _read_parameters()
    if parameters.get("format", "png") != "png":
        raise ApiError(400, "invalid_parameter", "format must be png")
    if upload := request.files.get("image"):
        image = upload.read()
        if len(image) > MAX_IMAGE_BYTES:
            raise too_large()
        return image, None
    if request.mimetype == "multipart/form-data" and "image" in parameters:
        raise ApiError(400, "invalid_parameter", "image must be a file, with a file name")
    if "image_url" not in parameters:
        raise ApiError(400, "missing_parameter", "image_url or image is required")
    try:
        return _fetch(parameters["image_url"])
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        # `from None`: the text of the cause holds the URL.
        raise ApiError(400, "invalid_parameter", "image_url could not be fetched") from None


def _read_parameters() -> dict[str, Any]:
    if not request.content_length:
        raise ApiError(400, "invalid_request_body", "The request body is empty")
    try:
        if request.mimetype == "application/json":
            return _JSON_OBJECT.validate_json(request.get_data())
        if request.mimetype == "multipart/form-data":
            return request.form.to_dict()
    except ValueError as error:
        raise ApiError(400, "invalid_request_body", "The request body cannot be read") from error
    except RequestEntityTooLarge as error:
        raise too_large() from error
    raise ApiError(400, "unsupported_content_type", "Send application/json or multipart/form-data")


def _fetch(url: object) -> tuple[bytes, str]:
    """The body behind a URL, and the URL's path. Raises OSError, ValueError or urllib3's HTTPError."""
    if not isinstance(url, str):
        raise ValueError("The URL must be a string")  # noqa: TRY004 (like any other invalid URL)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("Only http and https are fetched")
    deadline = time.monotonic() + _FETCH_SECONDS
    content = bytearray()
    with requests.Session() as session:
        session.trust_env = False  # no proxy and no .netrc: fetch exactly this URL
        session.max_redirects = 3
        with session.get(url, stream=True, timeout=(5, 10)) as response:
            response.raise_for_status()
            while chunk := response.raw.read1(65_536):
                content += chunk
                if len(content) > MAX_IMAGE_BYTES:
                    raise too_large()
                if time.monotonic() > deadline:
                    raise TimeoutError("The URL took too long")
    return bytes(content), parts.path


def source_of(request: Request) -> str:
    """Path of the requested image_url; empty for an image that is sent, and for a request that cannot be read."""
    if request.mimetype != "application/json":
        return ""
    try:
        body = request.get_json(silent=True)
        url = body.get("image_url") if isinstance(body, dict) else None
        return unquote(urlsplit(url).path) if isinstance(url, str) else ""
    except (ValueError, RecursionError, RequestEntityTooLarge):
        return ""
