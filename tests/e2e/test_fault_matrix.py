"""Every step of an upload's life, and what becomes of the upload when that step goes wrong: see fault_cases.py.

Each case has its own upload, on stacks whose times are scaled down (see `scaled`). The slow peers come first, then all
others at the same time.
"""

import io
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import unquote_plus

import numpy as np
import pytest
from PIL import Image

from cutout.local.aws.event_faults import EventFault
from cutout.local.aws.middleware import AwsFault
from cutout.local.cloud import LocalCloud
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault
from cutout.local.pixelcut.faults import Rule
from cutout.local.pixelcut.server import API_KEY, StandIn
from tests.e2e.fault_cases import ALL_CASES, CASES, HANDFUL, MAPPING, OTHER_TWIN, OWN_CASES, SLOW_CASES, Case, Fault

ROOT = Path(__file__).parents[2]
SECONDS = 240  # until every case has ended; the longest has five attempts
FIRST_SECONDS = 2 * SECONDS + 120  # of the test that waits for the slow peers, for all others, and for the stacks
TWINS = {"twin", OTHER_TWIN}
MAPPING_SECONDS = 1.5  # which the event source mapping takes to be switched
REOPEN_SECONDS = 3  # between two runs of ReopenIntake
NO_MESSAGES = json.dumps({"Records": []})

SCALED = {
    "VisibilityTimeout: 720": "VisibilityTimeout: 18",
    "maxReceiveCount: 1000": "maxReceiveCount: 3",
    "Timeout: 120": "Timeout: 17",
    "BACKOFF_SECONDS: 30": "BACKOFF_SECONDS: 1",
    "REOPEN_SECONDS: 300": "REOPEN_SECONDS: 2",
    "FAILURES_IN_A_ROW: 10": "FAILURES_IN_A_ROW: 1000",
    "CodeUri: functions/": f"CodeUri: {ROOT / 'functions'}",
}
# A kill is to hit one upload.
ONE_BY_ONE = {
    "BatchSize: 10": "BatchSize: 1",
}


def scaled(folder: Path, name: str, changes: Mapping[str, str]) -> Path:
    """The template with smaller numbers."""
    text = (ROOT / "template.yaml").read_text()
    for old, new in (SCALED | dict(changes)).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


class Cloud(Protocol):
    """The local cloud, or the second one of tests/second_opinion/."""

    log_dir: Path
    mapping_seconds: float

    def client(self, service: str) -> Any: ...  # noqa: ANN401  # its type depends on the service
    def deploy(self, template: Path, *, stack_name: str, parameters: Mapping[str, str]) -> dict[str, str]: ...
    def set_faults(self, *faults: AwsFault) -> None: ...
    def set_delivery_faults(self, *faults: DeliveryFault) -> None: ...
    def set_event_faults(self, *faults: EventFault) -> None: ...


@dataclass
class Ending:
    outcome: str
    paid: int
    asked: int
    billed: str


@dataclass
class Stack:
    cloud: Cloud
    name: str
    outputs: dict[str, str]
    mapping: str
    reopening: threading.Thread | None = field(default=None, init=False)

    @classmethod
    def deploy(cls, cloud: Cloud, template: Path, name: str, stand_in: StandIn) -> Self:
        parameters = {"PixelcutApiUrl": stand_in.url, "RequestsPerSecond": "100", "MaximumConcurrency": "10"}
        outputs = cloud.deploy(template, stack_name=name, parameters=parameters)
        cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
        (mapping,) = cloud.client("lambda").list_event_source_mappings(FunctionName=outputs["FunctionName"])[
            "EventSourceMappings"
        ]
        return cls(cloud, name, outputs, mapping["UUID"])

    def start_environment(self) -> None:
        """With times this short, environments that all start at once would be stopped for the lack of a processor."""
        answer = self.cloud.client("lambda").invoke(FunctionName=self.outputs["FunctionName"], Payload=NO_MESSAGES)
        assert b"UnexpectedBatchTypeError" in answer["Payload"].read()  # the handler has begun

    def upload(self, number: int, name: str) -> None:
        body = picture(number, height=63 if name.startswith("letter") else 80)
        key = "twin.jpg" if name == OTHER_TWIN else f"{name}.png"
        self.cloud.client("s3").put_object(Bucket=self.outputs["InputBucketName"], Key=key, Body=body)

    def endings(self) -> Iterator[tuple[str, str, str]]:
        """Name, outcome and billing of the uploads that have ended; letters only once."""
        listing = self.cloud.client("s3").list_objects_v2(Bucket=self.outputs["OutputBucketName"])
        for cutout in listing.get("Contents", []):
            yield cutout["Key"].removesuffix(".png"), "cutout", ""
        for name, code, billed in letters(self.cloud.client("sqs"), self.outputs["DeadLetterQueueUrl"]):
            yield OTHER_TWIN if name.startswith("twin") else name, code, billed

    @property
    def is_paused(self) -> bool:
        """By its item; the mapping follows when ReopenIntake runs."""
        (table,) = self._named("dynamodb", "list_tables", "TableNames", "Ledger")
        answer = self.cloud.client("dynamodb").get_item(TableName=table, Key={"id": {"S": "intake"}})
        return "paused_by" in answer.get("Item", {})

    def reopen_intake(self) -> None:
        """Run ReopenIntake again and again during the test, as its schedule does."""
        if self.reopening is None or not self.reopening.is_alive():
            self.reopening = threading.Thread(target=self._reopen, name=f"reopen-{self.name}")
            self.reopening.start()

    def _reopen(self) -> None:
        (function,) = (
            found["FunctionName"]
            for found in self.cloud.client("lambda").list_functions()["Functions"]
            if found["FunctionName"].startswith(f"{self.name}-ReopenIntake-")
        )
        self.cloud.client("lambda").invoke(FunctionName=function)
        time.sleep(REOPEN_SECONDS)

    def _named(self, service: str, call: str, of: str, resource: str) -> list[str]:
        found = getattr(self.cloud.client(service), call)()[of]
        return [name for name in found if name.startswith(f"{self.name}-{resource}-")]


@dataclass
class Played:
    """How each upload ended, and how often an invocation of the slow stack was stopped."""

    endings: dict[str, Ending]
    stopped: int


def selected(request: pytest.FixtureRequest) -> dict[str, Case]:
    """The cases whose tests are selected: a few take less time than all."""
    items = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params["name"] for item in items if hasattr(item, "callspec")}
    if any(item.name == test_no_slow_peer_stops_an_invocation.__name__ for item in items):
        names |= SLOW_CASES.keys()
    if names & TWINS:
        names |= TWINS
    return {name: case for name, case in ALL_CASES.items() if name in names}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("matrix")
    with LocalCloud(log_dir=folder / "log") as cloud:
        yield play(cloud, selected(request), folder)


def play(cloud: Cloud, cases: Mapping[str, Case], folder: Path) -> Played:
    """Deploys the stacks of the cases, uploads their images, and waits until each has ended."""
    one_by_one = scaled(folder, "one-by-one", ONE_BY_ONE)
    with StandIn(quick=True) as stand_in:
        shared = Stack.deploy(cloud, one_by_one, "shared", stand_in)
        slow = Stack.deploy(cloud, scaled(folder, "slow", {}), "slow", stand_in)
        stacks: dict[str, Stack] = dict.fromkeys(CASES, shared) | dict.fromkeys(SLOW_CASES, slow)
        for name in OWN_CASES.keys() & cases.keys():
            case = cases[name]
            template = scaled(folder, name, ONE_BY_ONE | dict(case.changes)) if case.changes else one_by_one
            stacks[name] = Stack.deploy(cloud, template, name, stand_in)
            stacks[name].start_environment()
        cloud.mapping_seconds = MAPPING_SECONDS
        stacks = {name: stacks[name] for name in cases}
        set_faults(cloud, stand_in, stacks)
        found: dict[str, tuple[str, str]] = {}
        for is_slow in (True, False):
            some = {name: stack for name, stack in stacks.items() if (name in SLOW_CASES) == is_slow}
            for number, name in enumerate(cases):
                if name in some:
                    some[name].upload(number, name)
            found |= await_endings(some)
        state = stand_in.state()
        endings = {
            name: Ending(
                outcome,
                paid=sum(f"/{name}." in charge["source"] for charge in state["charges"]),
                asked=sum(
                    count for source, count in state["asked"].get("removal", {}).items() if f"/{name}." in source
                ),
                billed=billed,
            )
            for name, (outcome, billed) in found.items()
        }
        log = (cloud.log_dir / f"{slow.outputs['FunctionName']}.log").read_text()
        return Played(endings, log.count("Task timed out"))


def expected(case: Case, ending: Ending) -> Ending:
    asked = case.asked
    if case.ends == "paused":  # other deliveries may be on their way already
        asked = max(asked, min(ending.asked, HANDFUL))
    return Ending(case.ends, case.paid, asked, case.billed)


def await_endings(stacks: Mapping[str, Stack]) -> dict[str, tuple[str, str]]:
    """Outcome and billing, by the name of the case."""
    found: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + SECONDS
    while len(found) < len(stacks) and time.monotonic() < deadline:
        waiting = {name: stack for name, stack in stacks.items() if name not in found}
        for stack in {stack.name: stack for stack in waiting.values()}.values():
            for name, outcome, billed in stack.endings():
                found.setdefault(name, (outcome, billed))
        for name, stack in waiting.items():
            if ALL_CASES[name].ends == "paused" and stack.is_paused:
                found.setdefault(name, ("paused", ""))
            elif ALL_CASES[name].reopened and name not in found:
                stack.reopen_intake()
        time.sleep(0.2)
    for stack in stacks.values():
        if stack.reopening:
            stack.reopening.join()
    return found


def set_faults(cloud: Cloud, stand_in: StandIn, stacks: Mapping[str, Stack]) -> None:
    faults = [fault for name, stack in stacks.items() for fault in faults_of(ALL_CASES[name], stack)]
    cloud.set_faults(*(fault for fault in faults if isinstance(fault, AwsFault)))
    cloud.set_delivery_faults(*(fault for fault in faults if isinstance(fault, DeliveryFault)))
    cloud.set_event_faults(*(fault for fault in faults if isinstance(fault, EventFault)))
    stand_in.set_faults(*(fault for fault in faults if isinstance(fault, Rule)))


def faults_of(case: Case, stack: Stack) -> Iterator[Fault]:
    for fault in (case.fault, case.also):
        if isinstance(fault, AwsFault) and fault.action == MAPPING:
            yield replace(fault, resource=stack.mapping)
        elif fault:
            yield fault


def picture(seed: int, *, height: int) -> bytes:
    rows = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rows).resize((80, height)).save(file, "PNG")
    return file.getvalue()


def letters(sqs: Any, url: str) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401  # a boto3 client
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    for message in answer.get("Messages", []):
        said = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
        (record,) = json.loads(message["Body"])["Records"]
        name = unquote_plus(record["s3"]["object"]["key"]).removesuffix(".png")
        yield name, said.get("ErrorCode", "moved by SQS"), said.get("Billed", "")
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.timeout(FIRST_SECONDS)  # the first of them waits for all
@pytest.mark.parametrize("name", ALL_CASES)
def test_an_upload_ends_as_promised_when_a_step_goes_wrong(played: Played, name: str) -> None:
    case, endings = ALL_CASES[name], played.endings
    assert name in endings, f"neither a cutout nor a letter within {SECONDS} s"
    assert endings[name] == expected(case, endings[name])


@pytest.mark.timeout(FIRST_SECONDS)
def test_no_slow_peer_stops_an_invocation(played: Played) -> None:
    assert played.stopped == 0
