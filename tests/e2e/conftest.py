"""The stack deployed to a local cloud, with a stand-in that makes quick cutouts."""

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import numpy as np
import pytest
from PIL import Image

from cutout.local.cloud import LocalCloud
from cutout.local.pixelcut.server import API_KEY, StandIn

LAST_POLL_SECONDS = 1.5  # there is no sign that it has ended
TEMPLATE = Path(__file__).parents[2] / "template.yaml"


@dataclass
class Stack:
    cloud: LocalCloud
    stand_in: StandIn
    outputs: dict[str, str]
    log: Path
    letters: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.s3, self.sqs = self.cloud.client("s3"), self.cloud.client("sqs")

    @staticmethod
    def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {seconds} s"
            time.sleep(0.1)

    def upload(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.outputs["InputBucketName"], Key=key, Body=body)

    def switch_mapping(self, *, enabled: bool) -> None:
        """Switch the event source mapping by hand. Returns when that is done, and what it polled is delivered."""
        functions = self.cloud.client("lambda")
        (mapping,) = functions.list_event_source_mappings(FunctionName=self.outputs["FunctionName"])[
            "EventSourceMappings"
        ]
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        self.wait_until(lambda: self.mapping_state == ("Enabled" if enabled else "Disabled"), "mapping as it should be")
        if not enabled:
            time.sleep(LAST_POLL_SECONDS)

    @property
    def mapping_state(self) -> str:
        functions = self.cloud.client("lambda")
        (mapping,) = functions.list_event_source_mappings(FunctionName=self.outputs["FunctionName"])[
            "EventSourceMappings"
        ]
        state: str = mapping["State"]
        return state

    @property
    def intake(self) -> dict[str, Any]:
        """The intake's item."""
        dynamodb = self.cloud.client("dynamodb")
        (table,) = dynamodb.list_tables()["TableNames"]
        item: dict[str, Any] = dynamodb.get_item(TableName=table, Key={"id": {"S": "intake"}}).get("Item", {})
        return item

    def spend(self, name: str, credits_: int) -> None:
        """So many credits are reserved of the `name`, day or month, in which some have been before."""
        dynamodb = self.cloud.client("dynamodb")
        (table,) = dynamodb.list_tables()["TableNames"]
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": "intake"}},
            UpdateExpression=f"SET {name}_credits = :credits",
            ExpressionAttributeValues={":credits": {"N": str(credits_)}},
        )

    def wait_for_cutout(self, key: str) -> dict[str, Any]:
        """S3's answer for a cutout, once it is there."""
        bucket = self.outputs["OutputBucketName"]
        self.wait_until(lambda: any(found == key for found in self._keys(bucket)), f"cutout {key}")
        answer: dict[str, Any] = self.s3.get_object(Bucket=bucket, Key=key)
        return answer | {"Body": answer["Body"].read()}

    def wait_for_letter(self, key: str) -> dict[str, str]:
        """The message attributes of an upload's letter, once it is there."""
        self.wait_until(lambda: key in self._read_letters(), f"letter of {key}")
        return self.letters[key]

    def _keys(self, bucket: str) -> list[str]:
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def _read_letters(self) -> dict[str, dict[str, str]]:
        url = self.outputs["DeadLetterQueueUrl"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for message in answer.get("Messages", []):
            (record,) = json.loads(message["Body"])["Records"]
            self.letters[unquote_plus(record["s3"]["object"]["key"])] = {
                name: value["StringValue"] for name, value in message["MessageAttributes"].items()
            }
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return self.letters


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    """A square PNG with some texture, different for each seed."""

    def make(seed: int, size: int = 80) -> bytes:
        rows = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(rows).resize((size, size)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    """Of the stack, for a module that needs others than the template's."""
    return {}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, str]) -> Iterator[Stack]:
    logs = tmp_path_factory.mktemp("logs")
    with LocalCloud(log_dir=logs) as cloud, StandIn(quick=True) as stand_in:
        outputs = cloud.deploy(TEMPLATE, parameters={"PixelcutApiUrl": stand_in.url} | parameters)
        secrets = cloud.client("secretsmanager")
        secrets.put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=API_KEY)
        yield Stack(cloud, stand_in, outputs, logs / f"{outputs['FunctionName']}.log")


@pytest.fixture
def stack(deployed: Stack) -> Iterator[Stack]:
    yield deployed
    deployed.stand_in.set_faults()
