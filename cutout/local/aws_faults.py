"""The calls that functions make to AWS: they are counted, and rules can make them go wrong.

What others call is left alone: tests, the event source mapping, and whoever uses a presigned URL.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound

from cutout.local.faults import Pause

Environ: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]

# Each execution environment signs with an access key id of its own. A presigned URL has it in its query instead.
ACCESS_KEY_PREFIX = "environment-"
_SIGNATURE = re.compile(rf"Credential=({ACCESS_KEY_PREFIX}\d+)/\d+/[^/]+/([^/]+)/aws4_request")
_RESOURCES = ("QueueUrl", "TableName", "SecretId")  # what names the resource in a JSON call


@dataclass(frozen=True)
class AwsFault:
    """One way in which calls go wrong: without effect, answered with an error.

    `action` is the API's name for it ("PutObject", "UpdateItem"). `resource` is a part of the path of an S3 or Lambda
    call (/bucket/key), of the queue's URL, or of the name of the table or the secret.
    """

    action: str
    resource: str = ""
    contains: tuple[str, ...] = ()  # parts of the body of a call that is JSON, such as an item's key
    times: int | None = 1  # calls, each retry of the SDK being one; None: all
    status: int = 503
    code: str = "ServiceUnavailable"
    after: bool = False  # the call takes effect all the same
    delay_seconds: float = 0  # for which the error is held back: a client that waits less long sees a time-out
    kill: bool = False  # before it is answered, the environment gets SIGKILL


class FunctionCalls:
    """Stands before the services; the first fault that applies to a call decides."""

    def __init__(self, kill: Callable[[str], object]) -> None:
        """`kill` is given the access key id of an environment, and returns when its process has ended."""
        self._kill = kill
        self._faults: tuple[AwsFault, ...] = ()
        self._fired: list[int] = []
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pause = Pause()

    def set_faults(self, *faults: AwsFault) -> None:
        """Replaces all of them; answers that are held back leave now."""
        with self._lock:
            self._faults = faults
            self._fired = [0] * len(faults)
        self._pause.wake()

    def made(self) -> Counter[str]:
        with self._lock:
            return self._made.copy()

    def clear(self) -> None:
        with self._lock:
            self._made.clear()

    def answer(self, service: Application, environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        signature = _SIGNATURE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signature is None:
            return service(environ, start_response)
        access_key, service_name = signature.groups()
        fault = self._count(_action(service_name, environ), *_resource(environ))
        if fault is None:
            return service(environ, start_response)
        if fault.after:
            _take_effect(service, environ)
        if fault.kill:
            self._kill(access_key)
        self._pause(fault.delay_seconds)
        return _error(fault, service_name, environ, start_response)

    def _count(self, action: str, resource: str, body: str) -> AwsFault | None:
        with self._lock:
            self._made[action] += 1
            for number, fault in enumerate(self._faults):
                spent = fault.times is not None and self._fired[number] >= fault.times
                applies = fault.action == action and fault.resource in resource and not spent
                if applies and all(part in body for part in fault.contains):
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


def _resource(environ: Environ) -> tuple[str, str]:
    """The resource of a call and, where it is JSON, its body."""
    if "HTTP_X_AMZ_TARGET" not in environ:
        return unquote(environ["REQUEST_URI"].partition("?")[0]), ""
    text = environ["wsgi.input"].read().decode()
    environ["wsgi.input"].seek(0)
    body = json.loads(text)
    return next((body[name] for name in _RESOURCES if name in body), ""), text


def _take_effect(service: Application, environ: Environ) -> None:
    answer = service(environ, lambda *_: None)
    for _ in answer:
        pass
    if close := getattr(answer, "close", None):
        close()


def _error(fault: AwsFault, service_name: str, environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
    """S3 speaks XML. The others speak JSON, and name the code in the body or in a header."""
    message = "The local cloud was told to fail"
    if service_name == "s3":
        kind = "application/xml"
        body = f"<Error><Code>{escape(fault.code)}</Code><Message>{message}</Message></Error>"
    else:
        kind = "application/json"
        body = json.dumps({"__type": fault.code, "message": message})
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-errortype", fault.code)]
    start_response(f"{fault.status} Told to fail", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body.encode()]
