"""The code under test, wired as its Lambda functions and the command wire it: the only module that knows how."""

import contextlib
import functools
import importlib
import logging
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import pixelcut
from .modules import replaced
from .processes import Process, Work
from .state import ZONE
from .world import World

UPLOAD_QUEUE, DEAD_LETTERS = "uploads", "letters"
INPUT, OUTPUT = "input", "output"
MAX_ATTEMPTS = 3
TIMEOUT_SECONDS = 120.0
LETTER_SECONDS = 3.0
BACKOFF_SECONDS = 200
ENVIRONMENT = {
    "INPUT_BUCKET": INPUT,
    "OUTPUT_BUCKET": OUTPUT,
    "OUTPUT_KEY": "{stem}.png",
    "UPLOAD_QUEUE_URL": UPLOAD_QUEUE,
    "DEAD_LETTER_QUEUE_URL": DEAD_LETTERS,
    "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "PIXELCUT_API_URL": "https://pixelcut.test",
    "PIXELCUT_API_KEY_SECRET": "secret",
    "IMAGE_DELIVERY": "url",
    "PRESIGNED_URL_SECONDS": "300",
    "LEDGER_TABLE": "ledger",
    "REQUESTS_PER_SECOND": "5",
    "BACKOFF_SECONDS": str(BACKOFF_SECONDS),
    "FAILURES_IN_A_ROW": "3",
    "AWS_LAMBDA_FUNCTION_NAME": "remove-background",
    "EVENT_SOURCE_MAPPING": "mapping",
    "REOPEN_SECONDS": "300",
}
MODULES = [
    "remove_background.caps",
    "remove_background.config",
    "remove_background.deadline",
    "remove_background.intake",
    "remove_background.ledger",
    "remove_background.letters",
    "remove_background.process_upload",
    "remove_background.rate_limiter",
    "remove_background.storage",
    "remove_background.worker",
    "reopen_intake.handler",
    "cutout.operations.budget",
    "cutout.operations.intake",
]


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """The code's clock, locks and random numbers are the simulation's, and its log is silent, until the end."""
    import os  # noqa: PLC0415

    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Cutout")
    os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "simulation")
    modules = [importlib.import_module(name) for name in MODULES]
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with replaced(modules):
            yield
    finally:
        logging.disable(before)


Message = tuple[str, tuple[tuple[str, str, str], ...], float, int]  # body, attributes, when it was sent, receives


def repeats_put() -> bool:
    """Whether the SDK, as the function sets it up, sends a PutObject again whose answer was lost."""
    from remove_background import aws  # noqa: PLC0415
    from remove_background.aws_errors import NotRepeatedError  # noqa: PLC0415

    second: Any = types.SimpleNamespace(headers={"amz-sdk-request": "attempt=2"})
    try:
        aws._send_once(second)
    except NotRepeatedError:
        return False
    return True


def builder(world: World) -> Callable[[str, Process], Work]:
    """Makes the execution environment of a kind: from an invocation's payload to the work of its threads."""
    settings = ENVIRONMENT
    if world.daily is not None:
        settings = settings | {"DAILY_CREDITS": str(world.daily), "CAP_TIME_ZONE": ZONE}
    kinds: dict[str, Callable[..., Work]] = {
        "worker": functools.partial(_build_worker, world.connects),
        "watch": _build_watch,
    }
    return lambda kind, process: kinds.get(kind, _build_command)(process, kind, settings)


def _clients() -> Any:
    from .clients import Clients  # noqa: PLC0415  # which asks `repeats_put`

    return Clients()


class _Rejections:
    """Nothing in the functions reads them."""

    def note(self, upload: object, error: object) -> None:
        pass


class _Connections:
    def refresh(self) -> None:
        pass


def _build_worker(connects: float, process: Process, kind: str, settings: Mapping[str, str]) -> Work:
    from remove_background.config import Config  # noqa: PLC0415  # after a mutation may have changed it
    from remove_background.deadline import Deadline  # noqa: PLC0415
    from remove_background.intake import Intake  # noqa: PLC0415
    from remove_background.ledger import Ledger  # noqa: PLC0415
    from remove_background.letters import Letters  # noqa: PLC0415
    from remove_background.output_key import OutputKey  # noqa: PLC0415
    from remove_background.process_upload import BackgroundRemover  # noqa: PLC0415
    from remove_background.rate_limiter import RateLimiter  # noqa: PLC0415
    from remove_background.storage import Storage  # noqa: PLC0415
    from remove_background.worker import Delivery, Worker  # noqa: PLC0415

    config = Config.from_environment(settings)
    clients = _clients()
    intake = Intake(clients.dynamodb, config.ledger_table, config.failures_in_a_row)
    limiter = RateLimiter(clients, config.ledger_table, config.requests_per_second, intake, config.caps)
    credits_charged: deque[Any] = deque()
    ledger = Ledger(clients.dynamodb, config.ledger_table, credits_charged.append, intake.report_stopped)
    remover = BackgroundRemover(
        storage=Storage(clients.s3, config.output_bucket),
        service=pixelcut.Service(limiter.slot, connects),
        results=pixelcut.Results(),
        ledger=ledger,
        output_key=OutputKey(config.output_key),
        presigned_url_seconds=config.presigned_url_seconds,
    )
    letters = Letters(clients, config.dead_letter_queue_url)
    rejections: Any = _Rejections()
    connections: Any = _Connections()
    threads: Any = None
    worker = Worker(
        config, clients, connections, remover, ledger, letters, rejections, intake, threads, credits_charged
    )

    def invoke(messages: tuple[Message, ...]) -> Sequence[Callable[[], Any]]:
        deadlines: list[Deadline] = []

        def handle(message: Message) -> tuple[str, bool]:
            body, attributes, sent, received = message
            if not deadlines:
                deadlines.append(Deadline(TIMEOUT_SECONDS - LETTER_SECONDS))
                worker.intake.begin()
            numbers = {name: int(value) for name, type_, value in attributes if type_ == "Number"}
            delivery = Delivery(
                body=body,
                attempt=numbers.get("Attempts", 0) + 1,
                may_be_billed=numbers.get("Attempts", 0) > 0 or received > 1 or "MayBeBilled" in numbers,
                first_sent=numbers.get("FirstSent") or int(sent * 1000),
                request_id=f"request-{process.serial}",
                deadline=deadlines[0],
            )
            _, done = worker.handle(delivery)
            return body, done

        return [lambda message=message: handle(message) for message in messages]  # type: ignore[misc]

    return invoke


def _build_watch(process: Process, kind: str, settings: Mapping[str, str]) -> Work:
    from remove_background.config import ReopenConfig  # noqa: PLC0415
    from remove_background.intake import IntakeItem  # noqa: PLC0415
    from reopen_intake import handler  # noqa: PLC0415

    clients = _clients()
    service: Any = pixelcut.Service(handler._no_slot)
    config = ReopenConfig.from_environment(settings)
    watch = handler.Watch(config, clients.functions, IntakeItem(clients.dynamodb, config.ledger_table), service)
    return lambda _: [watch.look]


def _build_command(process: Process, kind: str, settings: Mapping[str, str]) -> Work:
    from cutout.operations import budget  # noqa: PLC0415
    from cutout.operations import intake as stack_intake  # noqa: PLC0415
    from remove_background.intake import OPERATOR  # noqa: PLC0415

    clients = _clients()
    deployed: Any = types.SimpleNamespace(
        dynamodb=clients.dynamodb,
        lambda_=clients.functions,
        function="remove-background",
        settings=settings,
        stack_name="cutout",
    )

    def run() -> None:
        if kind.startswith("allow"):
            budget.allow(deployed, "day", int(kind.removeprefix("allow ")), "a rush")
        elif kind == "pause":
            stack_intake.change(deployed, lambda item, token: item.pause(OPERATOR, "stocktaking", token))
        else:
            stack_intake.change(deployed, lambda item, token: item.reopen(item.read(), token))

    return lambda _: [run]
