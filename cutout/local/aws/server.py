"""moto as a server: the AWS services of the local cloud, on one port of this machine."""

import logging
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from botocore.exceptions import ClientError
from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import WSGITask

from cutout.local.aws.middleware import Application, Environ, FunctionCalls

# moto checks a condition (If-None-Match, a ConditionExpression) and then writes; these services do both atomically.
ONE_CALL_AT_A_TIME = ("s3", "dynamodb")
THREADS = 32
CONNECTIONS = 2000  # environments keep theirs open: ten threads, each with one connection per service
CALL_ENDS_SECONDS = 1  # grace for a call that runs when the server stops
_one_in_a_process = threading.Lock()


@contextmanager
def serving(port: int, calls: FunctionCalls) -> Iterator[int]:
    """Serves empty services on `port` of 127.0.0.1 (0: a free one), behind `calls`, and yields the port.

    Raises RuntimeError when this process serves them already: moto's state belongs to the process.
    """
    if not _one_in_a_process.acquire(blocking=False):
        raise RuntimeError("a local cloud runs in this process already")
    try:
        moto_api_backend.reset()  # whatever else used moto in this process
        with serving_application(port, _application(calls)) as effective_port:
            yield effective_port
    finally:
        moto_api_backend.reset()
        _one_in_a_process.release()


@contextmanager
def serving_application(port: int, application: Application) -> Iterator[int]:
    """Serves any application on `port` of 127.0.0.1 (0: a free one), and yields the port."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a call that waits for a thread is not worth a warning
    sockets: dict[int, Any] = {}
    server: Any = create_server(
        application,
        map=sockets,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,  # select takes no more than 1,024 files
    )
    server.channel_class = _Channel
    loop = threading.Thread(target=server.run, name="aws")
    loop.start()
    try:
        yield int(server.effective_port)
    finally:
        server.task_dispatcher.shutdown(timeout=CALL_ENDS_SECONDS)
        with suppress(OSError):  # the loop may have closed the trigger with the rest already
            server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        loop.join()


class _Parser(HTTPRequestParser):
    """Waitress answers `Expect: 100-continue` and then waits for a body, even for an empty object."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is None:
            self.expect_continue = False


class _Task(WSGITask):
    """Waitress capitalises the names of headers. S3 spells those of metadata small, and its clients keep them so."""

    def build_response_header(self) -> bytes:
        header: bytes = super().build_response_header()
        return re.sub(rb"(?m)^X-Amz-Meta-[^:]+", lambda name: name[0].lower(), header)


class _Channel(HTTPChannel):
    parser_class = _Parser
    task_class = _Task


def _application(calls: FunctionCalls) -> Application:
    dispatcher = DomainDispatcherApplication(create_backend_app)
    turns = {service: threading.Lock() for service in ONE_CALL_AT_A_TIME}

    def serve(environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        service: Any = dispatcher.get_application(environ)
        with turns.get(service.service, nullcontext()):
            answer: Iterable[bytes] = service(environ, start_response)
        return answer

    def application(environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        environ["RAW_URI"] = environ["REQUEST_URI"]  # where moto looks for a key that contains %, ? or #
        return calls.answer(serve, environ, start_response)

    return application


def read_code(arn: str) -> bytes:
    """The artefact of a function; Lambda's API would give a URL to fetch it from, which moto does not serve.

    Raises ClientError, as Lambda's clients do, when the function has been deleted meanwhile.
    """
    _, _, _, region, account, *_ = arn.split(":")
    try:
        return bytes(lambda_backends[account][region].get_function(arn).code_bytes)
    except UnknownFunctionException:
        error: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": f"Function not found: {arn}"}}
        raise ClientError(error, "GetFunction") from None
