"""A testbed for the stack under failure: a local cloud, with a stand-in that records its requests.

Scaled settings are changed in a copy of the template, and named in the report.
"""

import io
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote_plus

import numpy as np
from moto.dynamodb.models import dynamodb_backends
from moto.s3 import notifications
from PIL import Image
from samtranslator.yaml_helper import yaml_parse

from cutout.local.cloud import LocalCloud
from cutout.local.pixelcut.server import API_KEY
from remove_background.caps import DAY, Caps, Counts, Period
from remove_background.intake import IntakeItem
from testbed.witness import WitnessedStandIn, witnessed

_TEMPLATE = Path(__file__).parents[1] / "template.yaml"
_STACK = "cutout"

VISIBILITY = "Resources.UploadQueue.Properties.VisibilityTimeout"
TIMEOUT = "Resources.RemoveBackground.Properties.Timeout"
BACKOFF = "Resources.RemoveBackground.Properties.Environment.Variables.BACKOFF_SECONDS"
REOPEN = "Resources.ReopenIntake.Properties.Environment.Variables.REOPEN_SECONDS"
_EVENTS = "Resources.RemoveBackground.Properties.Events.Uploads.Properties"
ENABLED = f"{_EVENTS}.Enabled"


@dataclass
class Testbed:
    """The deployed stack; `scaled` says what differs from the template."""

    cloud: LocalCloud
    stand_in: WitnessedStandIn
    outputs: dict[str, str]
    scaled: list[str]
    notifications: dict[tuple[str, str], str] = field(default_factory=dict)  # their bodies, by key and version

    def __post_init__(self) -> None:
        self.s3, self.sqs, self.functions = (self.cloud.client(name) for name in ("s3", "sqs", "lambda"))
        self.input, self.output = self.outputs["InputBucketName"], self.outputs["OutputBucketName"]
        self.dynamodb = self.cloud.client("dynamodb")
        (self.table,) = self.dynamodb.list_tables()["TableNames"]
        self._intake: dict[str, Any] = {"TableName": self.table, "Key": {"id": {"S": "intake"}}}
        (self._mapping,) = self.functions.list_event_source_mappings()["EventSourceMappings"]

    def upload(self, key: str, body: bytes) -> str:
        """Returns the upload's version."""
        version: str = self.s3.put_object(Bucket=self.input, Key=key, Body=body)["VersionId"]
        return version

    def open_intake(self) -> None:
        """As `cutout resume` does: changes the item, and the mapping follows."""
        self.dynamodb.update_item(**self._intake, UpdateExpression="REMOVE paused_by, reason, since")
        self.functions.update_event_source_mapping(UUID=self._mapping["UUID"], Enabled=True)

    def close_intake(self) -> None:
        """By hand, as its item does not know. Waits until the last poll, and the batch that it may bring, are done."""
        self.functions.update_event_source_mapping(UUID=self._mapping["UUID"], Enabled=False)
        await_end(lambda: not any(thread.name.startswith("poller-") for thread in threading.enumerate()), 30)

    def allow(self, credits_: int) -> None:
        """So many more today, as `cutout cap` does; the day that is counted ends when it was to."""
        item = IntakeItem(self.dynamodb, self.table)
        item.allow(Caps(1, None, "UTC"), DAY, credits_, "the rest")

    @property
    def batches(self) -> int:
        """As many are worked on at the same time, at most."""
        return int(self._mapping["ScalingConfig"]["MaximumConcurrency"])

    @property
    def day(self) -> Period:
        """What is reserved of a cap."""
        return Counts.of(self.dynamodb.get_item(**self._intake, ConsistentRead=True).get("Item", {})).day

    @property
    def intake_is_paused(self) -> bool:
        """By its item, which every paid call obeys; the mapping follows when ReopenIntake runs."""
        return "paused_by" in self.dynamodb.get_item(**self._intake, ConsistentRead=True).get("Item", {})

    @property
    def intake_is_open(self) -> bool:
        """By its item, and the mapping has followed."""
        return self._state == "Enabled" and not self.intake_is_paused

    @property
    def _state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self._mapping["UUID"])["State"])

    @property
    def waiting(self) -> int:
        """Messages in the upload queue, including those in flight or delayed."""
        names = ["", "NotVisible", "Delayed"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.outputs["UploadQueueUrl"], AttributeNames=["All"])
        return sum(int(answer["Attributes"][f"ApproximateNumberOfMessages{name}"]) for name in names)

    def times_logged(self, text: str) -> int:
        """How often the function has logged it so far."""
        log = self.cloud.log_dir / f"{self.outputs['FunctionName']}.log"
        return log.read_text(encoding="utf-8").count(text)

    def cutouts(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.output)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def take_letters(self) -> list[tuple[str, str, str]]:
        """Key, version and error code of each; those that SQS moved itself have no code."""
        letters = []
        url = self.outputs["DeadLetterQueueUrl"]
        while messages := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                code = message.get("MessageAttributes", {}).get("ErrorCode", {}).get("StringValue", "moved by SQS")
                for record in json.loads(message["Body"])["Records"]:
                    found = record["s3"]["object"]
                    letters.append((unquote_plus(found["key"]), found["versionId"], code))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return letters

    def checkpoints(self) -> dict[str, float]:
        """When each result_url was first in the ledger (seconds since the epoch)."""
        found: dict[str, float] = {}
        for account in dynamodb_backends.values():
            for table in account[self.cloud.region].tables.values():
                for item in table.stream_shard.items if table.stream_shard else []:
                    change = item.to_json()["dynamodb"]
                    moment = change["ApproximateCreationDateTime"].timestamp()
                    for value in change.get("NewImage", {}).values():
                        found.setdefault(value.get("S", ""), moment)
        return found


@contextmanager
def deployed(
    changes: Mapping[str, object], *, speed: float = 1, mapping_seconds: float = 0.3, parameters: Mapping[str, str]
) -> Iterator[Testbed]:
    """`changes` are values by their path in the template; schedules run `speed` times as fast.

    The event source mapping takes `mapping_seconds` to be enabled or disabled.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cutout-chaos-") as folder,
        LocalCloud(log_dir=Path(folder), speed=speed, mapping_seconds=mapping_seconds) as cloud,
        witnessed() as (stand_in, url),
    ):
        template = Path(folder, "template.yaml")
        body, scaled = _scale(changes)
        template.write_text(json.dumps(body), encoding="utf-8")  # JSON is YAML
        if speed != 1:
            scaled.append(f"schedules: {speed:g} times as fast")
        outputs = cloud.deploy(template, stack_name=_STACK, parameters={"PixelcutApiUrl": url} | dict(parameters))
        scaled += [f"{name}: {value}" for name, value in parameters.items()]
        cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
        testbed = Testbed(cloud, stand_in, outputs, scaled)
        with _witnessed_notifications(testbed):
            yield testbed


def _scale(changes: Mapping[str, object]) -> tuple[dict[str, Any], list[str]]:
    """The template with these changes, its code found from anywhere, and its tables' streams for `checkpoints`."""
    body: dict[str, Any] = yaml_parse(_TEMPLATE.read_text(encoding="utf-8"))
    scaled = []
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = body
        for parent in parents:
            place = place[parent]
        scaled.append(f"{path.removeprefix('Resources.')}: {place.get(name, '(default)')} -> {value}")
        place[name] = value
    function = body["Globals"]["Function"]
    function["CodeUri"] = str(_TEMPLATE.parent / function["CodeUri"])
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            resource["Properties"]["StreamSpecification"] = {"StreamViewType": "NEW_IMAGE"}
    return body, scaled


@contextmanager
def _witnessed_notifications(testbed: Testbed) -> Iterator[None]:
    send = notifications._send_sqs_message

    def witness(account: str, event: Any, queue: str, region: str) -> None:  # noqa: ANN401 JSON
        for record in event.get("Records", []):
            found = record["s3"]["object"]
            testbed.notifications[unquote_plus(found["key"]), found["versionId"]] = json.dumps(event)
        send(account, event, queue, region)

    with mock.patch.object(notifications, "_send_sqs_message", witness):
        yield


def picture(seed: str, *, width: int = 0, height: int = 0) -> bytes:
    """A PNG or JPEG of 64 to 200 pixels a side, with some texture, that differs by its seed."""
    draw = random.Random(seed)
    numbers = np.random.default_rng(draw.getrandbits(64))
    rows = numbers.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    size = (width or draw.randint(64, 200), height or draw.randint(64, 200))
    Image.fromarray(rows).resize(size).save(file, draw.choice(["PNG", "JPEG"]))
    return file.getvalue()


def await_end(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition became true within that time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.25)
    return True
