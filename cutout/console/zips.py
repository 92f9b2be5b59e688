"""Cutouts as a ZIP: those that were chosen, or all whose keys begin so."""

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import chain

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from cutout.console.safety import only_reads
from cutout.console.stack import Stack
from cutout.console.streams import cut_off, disposition
from cutout.operations import zipped
from cutout.operations.download import list_pages

AT_A_TIME = 4


def make(stack: Stack) -> Blueprint:
    views = Blueprint("zips", __name__)
    sender = _Sender()

    @views.get("/cutouts/zip")
    def all_below() -> ResponseReturnValue:
        prefix = request.args.get("prefix", "")
        keys = (listed["Key"] for page in list_pages(stack.deployed, prefix) for listed in page)
        first = next(keys, None)
        if first is None:
            abort(HTTPStatus.NOT_FOUND, "No cutout has a key that begins so.")
        return sender.send(stack, chain([first], keys), _name_zip(stack, prefix))

    @views.post("/cutouts/zip/chosen")
    @only_reads
    def chosen() -> ResponseReturnValue:
        keys = list(dict.fromkeys(filter(None, request.form.getlist("key"))))
        if not keys:
            abort(HTTPStatus.BAD_REQUEST, "Choose at least one cutout.")
        return sender.send(stack, keys, _name_zip(stack, "chosen"))

    return views


class _Sender:
    """Sends so many ZIPs at a time: each keeps a thread of the server busy until the browser has it."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_A_TIME)

    def send(self, stack: Stack, keys: Iterable[str], name: str) -> Response:
        headers = {"Content-Disposition": disposition("attachment", name, "zip")}
        if request.method == "HEAD":  # its answer is never closed
            return Response(content_type="application/zip", headers=headers)
        if not self._free.acquire(blocking=False):
            abort(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{AT_A_TIME} ZIPs are being sent. Wait until one is done, and try again.",
            )
        chunks = zipped.stream(stack.deployed, keys)
        try:
            first = next(chunks)
        except BaseException:
            self._free.release()
            raise
        response = Response(cut_off(chain([first], chunks)), content_type="application/zip", headers=headers)
        response.call_on_close(chunks.close)
        response.call_on_close(self._free.release)
        return response


def _name_zip(stack: Stack, what: str) -> str:
    return "-".join(filter(None, [stack.name, *what.split("/"), f"{datetime.now(UTC):%Y%m%d}"]))
