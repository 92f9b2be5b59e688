"""A stand-in for the Pixelcut API: the whole reference as a server on this machine, with switches to make it fail.

It answers `POST /v1/remove-background` and `GET /v1/credits` as the reference says (`GET /openapi.yaml`), fetches
`image_url`, removes the background on the CPU, charges a credit per success and serves each result for an hour.

Its own choices, where the reference is silent: 25 MB are 26,214,400 bytes; an image below 64x64 pixels and an
`image_url` that cannot be fetched are 400 `invalid_parameter`; a forbidden key is 403 `insufficient_api_credits`; an
`Accept` that allows neither JSON nor PNG gets JSON; unknown parameters are ignored; several keys share one account.

It does not imitate: the real service's picture quality, the set of image formats that it takes (here JPEG, PNG, WebP,
GIF, BMP, TIFF, AVIF and HEIF), its moderation, its latency, the order in which it finds fault with a request that is
wrong in two ways, its TLS and host names (results are served by the host that was asked), any refusal to fetch from
private addresses, headers about limits, and any bill.

Switches, over HTTP while it runs, without a key:

    GET   /_stand_in/          a page for a person, with buttons
    GET   /_stand_in/state     settings, faults, requests by source, answers by status, a record of every charge
    PATCH /_stand_in/settings  some of: concurrent_requests, counted_by, credits, keys, latency_seconds,
                               requests_per_second, result_seconds
    PUT   /_stand_in/faults    {"seed": 0, "rules": [{"on": "removal", "times": 3, "status": 503}]}, see `faults.Rule`
    POST  /_stand_in/reset     back to how it started; the results made so far are gone
"""

import argparse
import hashlib
import itertools
import secrets
import signal
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from flask import Flask, Response, jsonify, redirect, request, send_file, url_for
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.wrappers import Response as BaseResponse

from cutout.local.pixelcut import switches
from cutout.local.pixelcut.arrival import ARRIVED
from cutout.local.pixelcut.background import remove_background
from cutout.local.pixelcut.errors import ApiError, answer_http_error, answer_wrong_switch, error_answer, no_credits
from cutout.local.pixelcut.faults import Endpoint, Faults, Pause, Rule
from cutout.local.pixelcut.limits import CountedBy, RequestLimit
from cutout.local.pixelcut.picture import ImageError
from cutout.local.pixelcut.removal_request import MAX_IMAGE_BYTES, StrictRequest, read_image, source_of
from cutout.local.pixelcut.trickle import SLOW, Slow, SlowChannel

API_KEY = "local-api-key"

_MULTIPART_OVERHEAD = 1_048_576  # bytes of a body that are not its image
_THREADS = 100  # each slow answer occupies one: ten batches of ten
_CONNECTIONS = 1000  # clients keep theirs open; waitress would stop at 100
_JSON_OBJECT = TypeAdapter(dict[str, Any])


class Settings(BaseModel, extra="forbid", frozen=True):
    """What can be set; `keys` holds each key of the account and whether it may be used."""

    credits: int = Field(default=1_000_000, ge=0)
    keys: dict[str, Literal["good", "forbidden"]] = {API_KEY: "good"}
    latency_seconds: float = Field(default=0, ge=0, description="added to every answer of the API but refusals")
    requests_per_second: int | None = Field(default=None, ge=1, description="of the whole account; null: no limit")
    counted_by: CountedBy = Field(default="sliding_window", description="how these are counted, by when they arrived")
    concurrent_requests: int | None = Field(default=None, ge=1, description="removals at the same time; null: any")
    result_seconds: float = Field(default=3600, ge=0, description="how long a result_url works; those given before too")


class StandIn:
    """The server, from `with` to the end of its block; `url` is the API's base URL."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, quick: bool = False, settings: Settings | None = None
    ) -> None:
        self._address = (host, port)
        self._quick = quick
        self._first_settings = settings or Settings()
        self._lock = threading.Lock()
        self._pause = Pause()
        self._stopped = threading.Event()
        self._results: dict[str, float] = {}  # name of a result -> when it was made, oldest first
        self._sources: dict[str, str] = {}  # name of a result -> path of the image_url that it was made of
        self._settings = self._first_settings
        self._in_progress = 0
        self._forget()

    def __enter__(self) -> Self:
        host, port = self._address
        self._sockets: dict[int, Any] = {}
        adjustments = Adjustments(
            host=host,
            port=port,
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            channel_request_lookahead=1,  # notices a client that leaves during a slow answer
        )
        self._server = TcpWSGIServer(self._app(), map=self._sockets, adj=adjustments)
        self._server.channel_class = SlowChannel
        self.url = f"http://{host}:{self._server.getsockname()[1]}"
        self._folder = tempfile.TemporaryDirectory(prefix="pixelcut-")
        self._thread = threading.Thread(target=self._serve, name="stand-in", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pause.wake()
        self._server.pull_trigger()
        self._thread.join()
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets)
        self._folder.cleanup()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            wasyncore.loop(map=self._sockets, count=1)

    def state(self) -> dict[str, Any]:
        """Its settings, its answers so far, and its charges."""
        with self._lock:
            return {
                "settings": self._settings.model_dump(),
                "faults": self._faults.model_dump() | {"fired": self._faults.fired()},
                "answers": {endpoint: dict(statuses) for endpoint, statuses in self._answers.items()},
                "asked": {endpoint: dict(sources) for endpoint, sources in self._asked.items()},
                "credits_charged": len(self._charges),
                "charges": list(self._charges),
            }

    def change_settings(self, **changes: Any) -> None:  # noqa: ANN401 (Settings checks them)
        """Raises ValidationError, and changes nothing, if one is unknown or out of range."""
        with self._lock:
            self._settings = Settings.model_validate(self._settings.model_dump() | changes)

    def set_faults(self, *rules: Rule, seed: int = 0) -> None:
        """Replaces all rules."""
        self._faults = Faults(seed=seed, rules=list(rules))

    def reset(self) -> None:
        """Back to how it started; answers that are being delayed are sent now."""
        self._forget()
        self._pause.wake()

    def _forget(self) -> None:
        with self._lock:
            self._settings = self._first_settings
            self._faults = Faults()
            self._answers: dict[str, Counter[str]] = defaultdict(Counter)
            self._asked: dict[str, Counter[str]] = defaultdict(Counter)
            self._charges: list[dict[str, str | None]] = []
            self._limit = RequestLimit()
            for name in list(self._results):
                self._delete(name)

    def _app(self) -> Flask:
        app = Flask(__name__, static_folder=None)
        app.request_class = StrictRequest
        app.config["MAX_CONTENT_LENGTH"] = MAX_IMAGE_BYTES + _MULTIPART_OVERHEAD
        app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        app.register_error_handler(HTTPException, answer_http_error)
        app.register_error_handler(ValidationError, answer_wrong_switch)
        app.add_url_rule(
            "/v1/remove-background", "removal", self._answers_to("removal", self._removal), methods=["POST"]
        )
        app.add_url_rule("/v1/credits", "credits", self._answers_to("credits", self._credits))
        app.add_url_rule("/public/result/<name>", "download", self._answers_to("download", self._download))
        app.add_url_rule("/openapi.yaml", "description", _description)
        app.add_url_rule("/_stand_in/", "switches", self._switches)
        app.add_url_rule("/_stand_in/", "press", self._press, methods=["POST"])
        app.add_url_rule("/_stand_in/state", "state", self.state)
        app.add_url_rule("/_stand_in/settings", "settings", self._patch_settings, methods=["PATCH"])
        app.add_url_rule("/_stand_in/faults", "faults", self._put_faults, methods=["PUT"])
        app.add_url_rule("/_stand_in/reset", "reset", self._post_reset, methods=["POST"])
        return app

    def _answers_to(self, endpoint: Endpoint, work: Callable[..., Response]) -> Callable[..., Response]:
        """A view that returns the answer of `work`, unless a rule replaces it."""

        def work_or_error(**path: str) -> Response:
            try:
                return work(**path)
            except ApiError as error:
                return error_answer(error.status, error.code, str(error))

        def view(**path: str) -> Response:
            source = self._sources.get(path["name"], "") if endpoint == "download" else source_of(request)
            rule = self._faults.next(endpoint, source) or Rule(on=endpoint)
            with self._lock:
                self._asked[endpoint][source] += 1
            answer = work_or_error(**path) if rule.after else None
            self._pause(rule.delay_seconds)
            answer = rule.shape(rule.replacement() or answer or work_or_error(**path))
            if rule.is_slow:
                request.environ[SLOW] = Slow(rule, self._pause)
            with self._lock:
                self._answers[endpoint]["dropped" if rule.drop else str(answer.status_code)] += 1
            return answer

        return view

    def _removal(self) -> Response:
        with self._running():
            return self._remove()

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._lock:
            limit = self._settings.concurrent_requests
            if limit and self._in_progress >= limit:
                raise ApiError(429, "rate_limit_exceeded", "Too many requests at the same time")
            self._in_progress += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_progress -= 1

    def _remove(self) -> Response:
        self._authorise()
        if self._settings.credits < 1:
            raise no_credits()
        image, source = read_image()
        try:
            result = remove_background(image, quick=self._quick)
        except ImageError as error:
            raise ApiError(400, error.code, str(error)) from error
        self._charge(image, source, result)
        # JSON is the default: it wins a tie, and is sent to a client that accepts neither.
        if request.accept_mimetypes.best_match(["application/json", "image/png"]) == "image/png":
            return Response(result, mimetype="image/png")
        return jsonify(result_url=f"{request.host_url}public/result/{self._keep(result, source or '')}")

    def _credits(self) -> Response:
        self._authorise()
        return jsonify(credits_remaining=self._settings.credits)

    def _authorise(self) -> None:
        """Raises the 401, 403 or 429 that refuses a request at once, whatever it asks for."""
        state = self._settings.keys.get(request.headers.get("X-API-KEY", ""))
        if state is None:
            raise ApiError(401, "invalid_auth_token", "API Token not found")
        if state == "forbidden":
            raise no_credits()
        with self._lock:
            limit = self._settings.requests_per_second
            if limit and not self._limit.admits(limit, self._settings.counted_by, request.environ[ARRIVED]):
                raise ApiError(429, "rate_limit_exceeded", "Too many requests")
        self._pause(self._settings.latency_seconds)

    def _charge(self, image: bytes, source: str | None, result: bytes) -> None:
        charge = {
            "time": datetime.now(UTC).isoformat(),
            "source": source,
            "input_sha256": hashlib.sha256(image).hexdigest(),
            "result_sha256": hashlib.sha256(result).hexdigest(),
        }
        with self._lock:
            if self._settings.credits < 1:  # other requests spent the last ones meanwhile
                raise no_credits()
            self._settings = self._settings.model_copy(update={"credits": self._settings.credits - 1})
            self._charges.append(charge)

    def _keep(self, result: bytes, source: str) -> str:
        """Stores a result under a name that cannot be guessed, and deletes the expired ones."""
        name = f"{secrets.token_hex(16)}.png"
        with self._lock:
            self._path(name).write_bytes(result)
            self._results[name] = time.monotonic()
            self._sources[name] = source
            for expired in list(itertools.takewhile(self._has_expired, self._results)):
                self._delete(expired)
        return name

    def _download(self, name: str) -> Response:
        with self._lock:
            if name not in self._results or self._has_expired(name):
                raise ApiError(404, "not_found", "No such result")
            return Response(self._path(name).read_bytes(), mimetype="image/png")

    def _has_expired(self, name: str) -> bool:
        return time.monotonic() >= self._results[name] + self._settings.result_seconds

    def _delete(self, name: str) -> None:
        del self._results[name]
        del self._sources[name]
        self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _switches(self) -> str:
        return switches.render(self.state())

    def _press(self) -> BaseResponse:
        """A button of the page was pressed."""
        match request.form["do"]:
            case "nothing":
                self.set_faults()
            case "reset":
                self.reset()
            case "settings":
                self.change_settings(**{name: request.form.get(name) or None for name in switches.SETTINGS})
            case fault if fault in switches.FAULTS:
                self.set_faults(switches.rule(fault, request.form.get("times", type=int)))
            case _:
                raise BadRequest("There is no such button")
        return redirect(url_for("switches"), 303)

    def _patch_settings(self) -> dict[str, Any]:
        self.change_settings(**_JSON_OBJECT.validate_json(request.get_data()))
        return self.state()

    def _put_faults(self) -> dict[str, Any]:
        self._faults = Faults.model_validate_json(request.get_data())
        return self.state()

    def _post_reset(self) -> dict[str, Any]:
        self.reset()
        return self.state()


def _description() -> Response:
    return send_file(Path(__file__).with_name("openapi.yaml"), "application/yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for the Pixelcut API.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--quick", action="store_true", help="a cheap ellipse instead of a real removal")
    parser.add_argument("--key", default=API_KEY, help="the API key that is accepted (default: %(default)s)")
    parser.add_argument("--credits", type=int, default=Settings().credits)
    parser.add_argument("--requests-per-second", type=int, help="answer 429 to what is above (default: no limit)")
    options = parser.parse_args()

    stop_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)  # in every thread, so that sigwait gets them
    settings = Settings(
        credits=options.credits, keys={options.key: "good"}, requests_per_second=options.requests_per_second
    )
    with StandIn(host=options.host, port=options.port, quick=options.quick, settings=settings) as stand_in:
        print(f"The stand-in for the Pixelcut API listens on {stand_in.url}", flush=True)
        signal.sigwait(stop_signals)


if __name__ == "__main__":
    main()
