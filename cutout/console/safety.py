"""Who may ask the console for what: only the browser that was given the token, from the console's own pages.

Any page in the browser can send requests to this machine. They are told apart by a cookie, by the Host header (a name
may be rebound to this machine: https://en.wikipedia.org/wiki/DNS_rebinding), and by the headers that a page cannot
forge, Origin and Sec-Fetch-Site (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site).
"""

import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from flask import Flask, Response, abort, current_app, g, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from cutout.console.connections import is_held_by_another_user

ADDRESS = "127.0.0.1"
# The style that image-compare puts into its shadow tree.
_COMPARE_STYLE = "'sha256-2/K8OOTUmBZdSx40ChE6mqKryrESGtjj6d3LMhUzlEk='"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {_COMPARE_STYLE}",
        "img-src 'self' blob:",  # blob: is a picture that is about to be sent
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer", the Origin of a form is null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD")
_View = TypeVar("_View", bound=Callable[..., object])


def only_reads(view: _View) -> _View:
    """Marks a view whose POST changes nothing at AWS, so that --read-only allows it: its fields fill no address."""
    vars(view)["only_reads"] = True
    return view


class Gate:
    """Checks each request before a view sees it.

    `announce` is called with each new address to enter by. An address works once: then the browser has the cookie, and
    the next address is announced, for another browser.

    `folder` is the path, without a slash at its end, below which the browser is to look. Nobody can guess it, so no
    other server of this machine gets the cookie: browsers send it to all ports.
    """

    def __init__(self, port: int, announce: Callable[[str], None], *, read_only: bool, folder: str = "") -> None:
        self._origins = {f"http://{name}:{port}" for name in (ADDRESS, "localhost")}
        self._hosts = {origin.removeprefix("http://") for origin in self._origins}
        self._port = port
        self._folder = folder
        self._cookie = f"cutout_console_{port}"  # browsers do not tell the ports of a host apart
        self._session = secrets.token_urlsafe(32)
        self._announce = announce
        self._read_only = read_only
        self._lock = threading.Lock()
        self._token = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self._port}{self._folder}/enter?token={self._token}"

    def guard(self, app: Flask) -> None:
        app.before_request(self._check)
        app.add_url_rule("/enter", view_func=self._enter)
        app.after_request(_add_headers)

    def _check(self) -> None:
        if request.host not in self._hosts:
            abort(HTTPStatus.MISDIRECTED_REQUEST, "The console answers only to its own address.")
        self._check_sender()
        if request.endpoint in (self._enter.__name__, "static"):
            return
        if not _equal(request.cookies.get(self._cookie, ""), self._session):
            abort(
                HTTPStatus.UNAUTHORIZED, "Open the address that `cutout console` printed last; each opens one browser."
            )
        g.entered = True  # who is not let in is not told what is behind the door
        if self._read_only and request.method not in _READING and not _only_reads(request.endpoint):
            abort(HTTPStatus.FORBIDDEN, "This console only reads: it was started with --read-only.")

    def _check_sender(self) -> None:
        """Whoever changes something says where it comes from; nobody may come from elsewhere."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        reads = request.method in _READING
        wrong_site = site is not None and site != "same-origin" and not (reads and site == "none")
        wrong_origin = origin is not None and origin not in self._origins
        if wrong_site or wrong_origin or not (reads or site or origin):
            abort(HTTPStatus.FORBIDDEN, "The console takes requests only from its own pages.")

    def _enter(self) -> BaseResponse:
        # To open a browser, its address is told to a program: other users see with what programs are called.
        if is_held_by_another_user(request.environ.get("REMOTE_PORT"), self._port):
            abort(HTTPStatus.FORBIDDEN, "The console belongs to another user of this machine.")
        with self._lock:
            known = request.method == "GET" and _equal(request.args.get("token", ""), self._token)
            if known:
                self._token = secrets.token_urlsafe(32)
        if not known:
            abort(HTTPStatus.UNAUTHORIZED, "This address was used before. Open the one that was printed last.")
        self._announce(self.address)
        response = redirect(f"{self._folder}/", HTTPStatus.SEE_OTHER)
        response.set_cookie(self._cookie, self._session, path=f"{self._folder}/", httponly=True, samesite="Strict")
        return response


def _only_reads(endpoint: str | None) -> bool:
    return hasattr(current_app.view_functions.get(endpoint or ""), "only_reads")


def _equal(given: str, right: str) -> bool:
    return secrets.compare_digest(given.encode(errors="replace"), right.encode())


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
