"""Every step of an upload's life, and what becomes of the upload when that step goes wrong.

The tables below are the promise: how the upload ends, how often it was paid for, how often the service was asked. All
cases run at the same time, each with an upload of its own, on stacks whose times are scaled down (see `scaled`). A
kill is SIGKILL to the process of the execution environment.
"""

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote_plus

import numpy as np
import pytest
from PIL import Image

from cutout.local.aws_faults import AwsFault
from cutout.local.cloud import LocalCloud
from cutout.local.faults import Rule
from cutout.local.pixelcut import API_KEY, StandIn

ROOT = Path(__file__).parents[2]
SECONDS = 150  # until every case has ended; the longest has five attempts
HANDFUL = 5  # requests at most, where the intake is to be paused
HANGS = 30  # seconds for which an answer is held back: longer than an invocation may take


@dataclass(frozen=True)
class Case:
    fault: AwsFault | Rule | None
    ends: str  # "cutout", the code of a letter, or "paused": it waits in the queue
    paid: int
    asked: int
    billed: str = ""  # in the letter
    also: Rule | None = None  # what the service does, so that there is a call to fail


def aws(action: str, key: str, *contains: str, **how: Any) -> AwsFault:  # noqa: ANN401  # of AwsFault
    """A fault of one call about one upload: S3 names it in the path, the others in the body."""
    if action in ("HeadObject", "GetObject", "PutObject"):
        return AwsFault(action, resource=f"/{key}.", **how)
    name = f":{key}." if action == "UpdateItem" else f"/{key}."  # an item's key is the output key
    return AwsFault(action, contains=(name, *contains), **how)


ALWAYS: dict[str, Any] = {"times": None}
TIMES_OUT: dict[str, Any] = {"delay_seconds": HANGS}
TIMES_OUT_AFTER: dict[str, Any] = {"delay_seconds": HANGS, "after": True}
KILLED_AFTER: dict[str, Any] = {"kill": True, "after": True}
OTHER_TWIN = "the other twin"  # whichever of twin.png and twin.jpg comes second
CLAIM, KEEP = "SET lease", "SET result_url"

CASES = {
    # Is it done already?
    "find-once": Case(aws("HeadObject", "find-once"), "cutout", 1, 1),
    "find-always": Case(aws("HeadObject", "find-always", **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "find-times-out": Case(aws("HeadObject", "find-times-out", **TIMES_OUT), "cutout", 1, 1),
    "find-killed": Case(aws("HeadObject", "find-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The look at the source
    "look-once": Case(aws("GetObject", "look-once"), "cutout", 1, 1),
    "look-always": Case(aws("GetObject", "look-always", **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "look-times-out": Case(aws("GetObject", "look-times-out", **TIMES_OUT), "cutout", 1, 1),
    "look-killed": Case(aws("GetObject", "look-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The ledger: the right to pay
    "claim-once": Case(aws("UpdateItem", "claim-once", CLAIM), "cutout", 1, 1),
    "claim-always": Case(aws("UpdateItem", "claim-always", CLAIM, **ALWAYS), "storage_unavailable", 0, 0, "no"),
    "claim-times-out": Case(aws("UpdateItem", "claim-times-out", CLAIM, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "claim-killed": Case(aws("UpdateItem", "claim-killed", CLAIM, **KILLED_AFTER), "cutout", 1, 1),
    # The paid call. What was charged for and never answered is lost: nobody can know its result.
    "pay-once": Case(Rule(on="removal", source="/pay-once.", times=1, status=500), "cutout", 1, 2),
    "pay-always": Case(Rule(on="removal", source="/pay-always.", status=500), "service_unavailable", 0, 5, "maybe"),
    "pay-throttled": Case(Rule(on="removal", source="/pay-throttled.", times=7, status=429), "cutout", 1, 8),
    "pay-refused": Case(
        Rule(on="removal", source="/pay-refused.", status=400, error_code="a_new_code"), "a_new_code", 0, 5, "no"
    ),
    "pay-dropped": Case(Rule(on="removal", source="/pay-dropped.", times=1, drop=True), "cutout", 1, 2),
    "pay-times-out": Case(
        Rule(on="removal", source="/pay-times-out.", times=1, after=True, delay_seconds=HANGS), "cutout", 2, 2
    ),
    "pay-killed": Case(aws("UpdateItem", "pay-killed", KEEP, kill=True), "cutout", 2, 2),
    # The ledger: what was paid for
    "keep-once": Case(aws("UpdateItem", "keep-once", KEEP), "cutout", 1, 1),
    "keep-always": Case(aws("UpdateItem", "keep-always", KEEP, **ALWAYS), "cutout", 1, 1),
    "keep-times-out": Case(aws("UpdateItem", "keep-times-out", KEEP, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "keep-killed": Case(aws("UpdateItem", "keep-killed", KEEP, **KILLED_AFTER), "cutout", 1, 1),
    # The result
    "fetch-once": Case(Rule(on="download", source="/fetch-once.", times=1, status=503), "cutout", 1, 1),
    "fetch-always": Case(Rule(on="download", source="/fetch-always.", status=503), "result_unavailable", 1, 1, "yes"),
    "fetch-times-out": Case(
        Rule(on="download", source="/fetch-times-out.", times=1, delay_seconds=HANGS), "cutout", 1, 1
    ),
    "fetch-cut": Case(Rule(on="download", source="/fetch-cut.", times=4, cut=0.5), "cutout", 1, 1),
    "fetch-gone": Case(Rule(on="download", source="/fetch-gone.", times=1, status=404), "cutout", 2, 2),
    "fetch-always-gone": Case(
        Rule(on="download", source="/fetch-always-gone.", status=404), "result_gone", 2, 2, "yes"
    ),
    "fetch-killed": Case(aws("PutObject", "fetch-killed", kill=True), "cutout", 1, 1),
    # The cutout
    "write-once": Case(aws("PutObject", "write-once"), "cutout", 1, 1),
    "write-always": Case(
        aws("PutObject", "write-always", **ALWAYS, status=403, code="AccessDenied"),
        "storage_unavailable", 1, 1, "yes",
    ),
    "write-times-out": Case(aws("PutObject", "write-times-out", **TIMES_OUT_AFTER), "cutout", 1, 1),
    "write-killed": Case(aws("PutObject", "write-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The letter of an image that is too small. It may be doubled, and never is lost.
    "letter-once": Case(aws("SendMessage", "letter-once"), "resolution_too_low", 0, 0, "no"),
    "letter-always": Case(aws("SendMessage", "letter-always", **ALWAYS), "moved by SQS", 0, 0),
    "letter-times-out": Case(aws("SendMessage", "letter-times-out", **TIMES_OUT), "resolution_too_low", 0, 0, "no"),
    "letter-killed": Case(aws("SendMessage", "letter-killed", **KILLED_AFTER), "resolution_too_low", 0, 0, "no"),
    # Nothing goes wrong.
    "well": Case(None, "cutout", 1, 1),
    # Two uploads of one output key at the same time: one is paid for, and the other is told.
    "twin": Case(None, "cutout", 1, 1),
    OTHER_TWIN: Case(None, "output_key_conflict", 0, 0, "no"),
}  # fmt: skip


def own(action: str, name: str, *contains: str, resource: str = "", **how: Any) -> AwsFault:  # noqa: ANN401  # of AwsFault
    """A fault of a call that names no upload; it names a resource of its stack, which is named after the case."""
    return AwsFault(action, resource=f"{name}-{resource}", contains=contains, **how)


def answers(status: int, name: str, **how: Any) -> Rule:  # noqa: ANN401  # of Rule
    return Rule(on="removal", source=f"/{name}.", status=status, **how)


TURN = '"pace"'
QUEUE: dict[str, Any] = {"resource": "UploadQueue"}
NOTHING_PAID = ("storage_unavailable", 0, 0, "no")

# Each of these has a stack to itself.
OWN_CASES = {
    # The API key
    "secret-once": Case(own("GetSecretValue", "secret-once"), "cutout", 1, 1),
    "secret-always": Case(own("GetSecretValue", "secret-always", **ALWAYS), *NOTHING_PAID),
    "secret-times-out": Case(own("GetSecretValue", "secret-times-out", **TIMES_OUT), "cutout", 1, 1),
    "secret-killed": Case(own("GetSecretValue", "secret-killed", **KILLED_AFTER), "cutout", 1, 1),
    # The turn of a request
    "turn-once": Case(own("UpdateItem", "turn-once", TURN), "cutout", 1, 1),
    "turn-always": Case(own("UpdateItem", "turn-always", TURN, **ALWAYS), *NOTHING_PAID),
    "turn-times-out": Case(own("UpdateItem", "turn-times-out", TURN, **TIMES_OUT_AFTER), "cutout", 1, 1),
    "turn-killed": Case(own("UpdateItem", "turn-killed", TURN, **KILLED_AFTER), "cutout", 1, 1),
    # The back-off. Where it cannot be set, the message comes back after the queue's visibility timeout.
    **{
        f"hide-{name}": Case(
            own("ChangeMessageVisibility", f"hide-{name}", **how),
            "cutout", 1, 2, also=answers(500, f"hide-{name}", times=1),
        )
        for name, how in {"once": {}, "always": ALWAYS, "times-out": TIMES_OUT, "killed": KILLED_AFTER}.items()
    },
    # The new message for an upload that was not at fault. It may be doubled, and the cutout is not.
    **{
        f"back-{name}": Case(
            own("SendMessage", f"back-{name}", **QUEUE, **how),
            "cutout", 1, 2, also=answers(429, f"back-{name}", times=1),
        )
        for name, how in {"once": {}, "always": ALWAYS, "times-out": TIMES_OUT, "killed": KILLED_AFTER}.items()
    },
    # The pause of the intake. Where it always fails, the upload asks on at each of its back-offs, and has no end.
    **{
        f"pause-{name}": Case(
            AwsFault("UpdateEventSourceMapping", **how), "paused", 0, 1, also=answers(403, f"pause-{name}")
        )
        for name, how in {"once": {}, "times-out": TIMES_OUT_AFTER, "killed": KILLED_AFTER}.items()
    },
}  # fmt: skip

ALL_CASES = CASES | OWN_CASES


def scaled(folder: Path) -> Path:
    """The template with smaller numbers, and a batch of one: a kill is to hit one upload."""
    text = (ROOT / "template.yaml").read_text()
    for old, new in {
        "VisibilityTimeout: 720": "VisibilityTimeout: 18",
        "Timeout: 120": "Timeout: 17",
        "BACKOFF_SECONDS: 30": "BACKOFF_SECONDS: 1",
        "FAILURES_IN_A_ROW: 10": "FAILURES_IN_A_ROW: 1000",
        "BatchSize: 10": "BatchSize: 1",
        "MaximumBatchingWindowInSeconds: 2": "MaximumBatchingWindowInSeconds: 0",
        "CodeUri: functions/": f"CodeUri: {ROOT / 'functions'}",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "template.yaml"
    path.write_text(text)
    return path


@dataclass
class Ending:
    outcome: str
    paid: int
    asked: int
    billed: str


@dataclass
class Stack:
    cloud: LocalCloud
    outputs: dict[str, str]
    mapping: str

    @classmethod
    def deploy(cls, cloud: LocalCloud, template: Path, name: str, stand_in: StandIn) -> Self:
        parameters = {"PixelcutApiUrl": stand_in.url, "RequestsPerSecond": "100", "MaximumConcurrency": "10"}
        outputs = cloud.deploy(template, stack_name=name, parameters=parameters)
        cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
        (mapping,) = cloud.client("lambda").list_event_source_mappings(FunctionName=outputs["FunctionName"])[
            "EventSourceMappings"
        ]
        return cls(cloud, outputs, mapping["UUID"])

    def upload(self, number: int, name: str) -> None:
        body = picture(number, height=63 if name.startswith("letter") else 80)
        key = "twin.jpg" if name == OTHER_TWIN else f"{name}.png"
        self.cloud.client("s3").put_object(Bucket=self.outputs["InputBucketName"], Key=key, Body=body)

    def endings(self) -> Iterator[tuple[str, str, str]]:
        """Name, how it ended and what was billed, of uploads that have ended; letters only once."""
        listing = self.cloud.client("s3").list_objects_v2(Bucket=self.outputs["OutputBucketName"])
        for cutout in listing.get("Contents", []):
            yield cutout["Key"].removesuffix(".png"), "cutout", ""
        for name, code, billed in letters(self.cloud.client("sqs"), self.outputs["DeadLetterQueueUrl"]):
            yield OTHER_TWIN if name.startswith("twin") else name, code, billed

    @property
    def is_paused(self) -> bool:
        state: str = self.cloud.client("lambda").get_event_source_mapping(UUID=self.mapping)["State"]
        return state == "Disabled"


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ending]]:
    folder = tmp_path_factory.mktemp("matrix")
    template = scaled(folder)
    with LocalCloud(log_dir=folder / "log") as cloud, StandIn(quick=True) as stand_in:
        shared = Stack.deploy(cloud, template, "shared", stand_in)
        own_stacks = {name: Stack.deploy(cloud, template, name, stand_in) for name in OWN_CASES}
        set_faults(cloud, stand_in, own_stacks)
        for number, name in enumerate(ALL_CASES):
            own_stacks.get(name, shared).upload(number, name)
        found: dict[str, tuple[str, str]] = {}
        deadline = time.monotonic() + SECONDS
        while len(found) < len(ALL_CASES) and time.monotonic() < deadline:
            waiting = {name: stack for name, stack in own_stacks.items() if name not in found}
            for stack in (shared, *waiting.values()):
                for name, outcome, billed in stack.endings():
                    found.setdefault(name, (outcome, billed))
            found |= {name: ("paused", "") for name, stack in waiting.items() if stack.is_paused}
            time.sleep(0.2)
        state = stand_in.state()
        yield {
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


def set_faults(cloud: LocalCloud, stand_in: StandIn, own_stacks: Mapping[str, Stack]) -> None:
    aws_faults, rules = [], []
    for name, case in ALL_CASES.items():
        if isinstance(case.fault, Rule):
            rules.append(case.fault)
        elif case.fault and case.fault.action == "UpdateEventSourceMapping":  # its path has the mapping's id only
            aws_faults.append(replace(case.fault, resource=own_stacks[name].mapping))
        elif case.fault:
            aws_faults.append(case.fault)
        if case.also:
            rules.append(case.also)
    cloud.set_faults(*aws_faults)
    stand_in.set_faults(*rules)


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


@pytest.mark.timeout(SECONDS + 60)  # the first of them waits for all
@pytest.mark.parametrize("name", ALL_CASES)
def test_an_upload_ends_as_promised_when_a_step_goes_wrong(endings: dict[str, Ending], name: str) -> None:
    case = ALL_CASES[name]
    assert name in endings, f"neither a cutout nor a letter within {SECONDS} s"
    asked = case.asked
    if case.ends == "paused":  # other deliveries may be on their way already
        asked = max(asked, min(endings[name].asked, HANDFUL))
    assert endings[name] == Ending(case.ends, case.paid, asked, case.billed)
