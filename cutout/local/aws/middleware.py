"""The calls that functions make to AWS: each is counted and needs a permission, and rules can make it go wrong.

Calls of tests and of the event source mapping are left alone. A presigned URL may do what its function may.
"""

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias
from urllib.parse import unquote
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound

from cutout.local.aws import presigned
from cutout.local.lambda_runtime.environments import ACCESS_KEY_PREFIX
from cutout.local.pixelcut.faults import Pause, hang_up

Environ: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]

# A presigned URL has the access key id in its query instead.
_SIGNATURE = re.compile(rf"Credential=({ACCESS_KEY_PREFIX}\d+)/\d+/[^/]+/([^/]+)/aws4_request")
_PRESIGNED = re.compile(rf"X-Amz-Credential=({ACCESS_KEY_PREFIX}\d+)%2F")
_RESOURCES = ("QueueUrl", "TableName", "SecretId")  # what names the resource in a JSON call


@dataclass(frozen=True)
class AwsFault:
    """One way in which calls go wrong: without effect, answered with an error.

    `after` and `drop` together make a lost answer: the call takes effect, and the SDK repeats it.

    `action` is the API's name for it ("PutObject", "UpdateItem"). `resource` is a part of the path of an S3 or Lambda
    call (/bucket/key), of the queue's URL, or of the name of the table or the secret.
    """

    action: str
    resource: str = ""
    contains: tuple[str, ...] = ()  # parts of the body of a call that is JSON, such as an item's key
    times: int | None = 1  # calls, each retry of the SDK being one; None: all
    rate: float = 1  # the share of them that the seed picks
    status: int = 503
    code: str = "ServiceUnavailable"
    page: str = ""  # a proxy's HTML answer instead of the service's error
    after: bool = False  # the call takes effect nevertheless
    delay_seconds: float = 0  # until the error is sent: a client that waits less long sees a timeout
    drop: bool = False  # the connection is closed instead of an answer
    kill: bool = False  # the environment gets SIGKILL before the answer


@dataclass(frozen=True, slots=True)
class Call:
    """A call made by a function, or with a URL that the function presigned."""

    access_key: str
    service: str
    action: str
    body: dict[str, Any]  # of a call that is JSON
    environ: Environ
    presigned: bool

    @classmethod
    def read(cls, environ: Environ) -> Self | None:
        if signer := _PRESIGNED.search(environ["QUERY_STRING"]):
            return cls(signer[1], "s3", _action("s3", environ), {}, environ, presigned=True)
        if signed := _SIGNATURE.search(environ.get("HTTP_AUTHORIZATION", "")):
            access_key, service = signed.groups()
            return cls(access_key, service, _action(service, environ), _body(environ), environ, presigned=False)
        return None

    @property
    def path(self) -> str:
        return unquote(self.environ["REQUEST_URI"].partition("?")[0])

    @property
    def resource(self) -> str:
        return next((self.body[name] for name in _RESOURCES if name in self.body), "") if self.body else self.path


class FunctionCalls:
    """Runs before the services. The first fault that matches a call applies."""

    def __init__(self, kill: Callable[[str], object], may: Callable[[Call], bool]) -> None:
        """`kill` takes the access key id of an environment, and returns when its process has ended.

        `may` says whether the role of a call's function allows the call.
        """
        self._kill = kill
        self._may = may
        self._faults: tuple[AwsFault, ...] = ()
        self._fired: list[int] = []
        self._draw = random.Random(0)  # noqa: S311 (no secret is drawn)
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pause = Pause()

    def set_faults(self, *faults: AwsFault, seed: int = 0) -> None:
        """Replaces all faults; answers that are held back are sent now."""
        with self._lock:
            self._faults = faults
            self._draw = random.Random(seed)  # noqa: S311
            self._fired = [0] * len(faults)
        self._pause.wake()

    def fired(self) -> list[int]:
        """How often each fault has fired, in order."""
        with self._lock:
            return list(self._fired)

    def made(self) -> Counter[str]:
        with self._lock:
            return self._made.copy()

    def clear(self) -> None:
        with self._lock:
            self._made.clear()

    def answer(self, service: Application, environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        call = Call.read(environ)
        if call is None:
            return service(environ, start_response)
        fault = None if call.presigned else self._count(call)
        if fault is None:
            if call.presigned and (code := presigned.refusal(environ, call.access_key)):
                return _error(AwsFault("", status=403, code=code), call, start_response)
            if not self._may(call):
                return _error(_NOT_ALLOWED, call, start_response)
            return service(environ, start_response)
        if fault.after:
            _take_effect(service, environ)
        if fault.kill:
            self._kill(call.access_key)
        self._pause(fault.delay_seconds)
        if fault.drop:
            return hang_up()
        return _error(fault, call, start_response)

    def _count(self, call: Call) -> AwsFault | None:
        text = json.dumps(call.body, ensure_ascii=False)
        with self._lock:
            self._made[call.action] += 1
            for number, fault in enumerate(self._faults):
                spent = fault.times is not None and self._fired[number] >= fault.times
                applies = fault.action == call.action and fault.resource in call.resource and not spent
                applies = applies and all(part in text for part in fault.contains)
                if applies and self._draw.random() < fault.rate:
                    self._fired[number] += 1
                    return fault
        return None


def _action(service_name: str, environ: Environ) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    try:
        operation, _ = get_service_router(service_name).match(Request(environ))
    except (NotFound, UnknownServiceError):  # the service answers as it may
        return "unknown"
    environ["wsgi.input"].seek(0)
    return str(operation.name)


def _body(environ: Environ) -> dict[str, Any]:
    if "HTTP_X_AMZ_TARGET" not in environ:
        return {}
    content: dict[str, Any] = json.load(environ["wsgi.input"])
    environ["wsgi.input"].seek(0)
    return content


def _take_effect(service: Application, environ: Environ) -> None:
    answer = service(environ, lambda *_: None)
    for _ in answer:
        pass
    if close := getattr(answer, "close", None):
        close()


def _error(fault: AwsFault, call: Call, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
    """S3 speaks XML. The others speak JSON, and name the code in the body or in a header."""
    if fault.page:
        kind, body = "text/html", fault.page
    elif call.service == "s3":
        kind = "application/xml"
        body = f"<Error><Code>{escape(fault.code)}</Code><Message>{_MESSAGE}</Message></Error>"
    else:
        kind = "application/json"
        body = json.dumps({"__type": fault.code, "message": _MESSAGE})
    headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    if not fault.page:
        headers.append(("x-amzn-errortype", fault.code))
    start_response(f"{fault.status} Refused", headers)
    return [] if call.environ["REQUEST_METHOD"] == "HEAD" else [body.encode()]


_MESSAGE = "The local cloud was told to fail, or the function's role does not allow the call"
_NOT_ALLOWED = AwsFault("", status=403, code="AccessDenied")
