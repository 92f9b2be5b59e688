"""What `cutout local --state` keeps from one start to the next."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from cutout.local.cloud import LocalCloud

SAMPLES = Path(__file__).parents[2] / "samples"


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    environment: dict[str, str]
    stand_in: str

    def cutout(self, *arguments: str) -> Any:  # noqa: ANN401  # JSON
        """What the command prints with --json; it may fail."""
        run = subprocess.run(
            [sys.executable, "-m", "cutout", *arguments, "--json"],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment | {"PATH": os.environ["PATH"]},
        )
        assert run.stdout, run.stderr
        return json.loads(run.stdout)

    def client(self, service: str) -> Any:  # noqa: ANN401  # its type depends on the service
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=LocalCloud.region,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def wait_for_a_letter(self) -> None:
        sqs = self.client("sqs")
        (queue,) = (url for url in sqs.list_queues()["QueueUrls"] if "DeadLetter" in url)
        wanted = {"QueueUrl": queue, "VisibilityTimeout": 0, "WaitTimeSeconds": 20}
        assert any(sqs.receive_message(**wanted).get("Messages") for _ in range(3))

    def look(self) -> dict[str, Any]:
        """All that a person sees of it, but for what is the stand-in's."""
        s3 = self.client("s3")
        buckets = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] != "local-artefacts"]
        versions = {bucket: s3.list_object_versions(Bucket=bucket) for bucket in buckets}
        return {
            "status": self.cutout("status") | {"credits": None},
            "letters": self.cutout("letters", "list", "--all"),
            "objects": [
                (bucket, found["Key"], found["VersionId"], found.get("ETag"), found["LastModified"], found["IsLatest"])
                for bucket, answer in versions.items()
                for found in answer.get("Versions", []) + answer.get("DeleteMarkers", [])
            ],
            "cutouts": [
                (found["Key"], answer["Metadata"], answer["ContentType"], answer["Body"].read())
                for bucket in buckets
                if "output" in bucket
                for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])
                for answer in [s3.get_object(Bucket=bucket, Key=found["Key"])]
            ],
        }

    def stop(self, signal_: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(signal_)
        self.process.communicate(timeout=30)


@contextmanager
def local(state: Path) -> Iterator[Running]:
    with subprocess.Popen(
        [sys.executable, "-m", "cutout", "local", "--state", str(state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Ready"):
                break
        stand_in = re.search(r"the stand-in at (\S+) ", said)
        assert stand_in, said
        try:
            yield Running(process, dict(re.findall(r"(AWS_\w+)=(\S+)", said)), stand_in[1])
        finally:
            process.kill()


@pytest.mark.timeout(300)  # three starts
def test_the_next_start_begins_where_the_last_one_was_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with local(state) as first:
        ended = first.cutout("upload", str(SAMPLES / "coffee.png"), str(SAMPLES / "too-small.jpg"), "--wait", "--yes")
        assert ended["became"] == {"not_sent": 1, "cutout": 1}
        s3, bucket = first.client("s3"), ended["input_bucket"]
        s3.upload_file(str(SAMPLES / "too-small.jpg"), bucket, "é/too small.jpg")
        first.wait_for_a_letter()
        s3.put_object(Bucket=bucket, Key="gone.jpg", Body=b"no image", Metadata={"a": "b"})
        s3.delete_object(Bucket=bucket, Key="gone.jpg")
        first.cutout("pause", "--reason", "to be kept", "--yes")
        first.cutout("upload", str(SAMPLES / "coffee.png"), "--prefix", "waits", "--yes")
        before = first.look()
        first.stop()

    assert before["status"]["intake"]["reason"] == "to be kept"
    with local(state) as second:
        assert second.look() == before
        second.client("s3").put_object(Bucket=bucket, Key="forgotten.jpg", Body=b"no image")
        second.stop(signal.SIGKILL)

    with local(state) as third:
        assert third.look()["objects"] == before["objects"]
        third.cutout("resume", "--yes")
        bucket = next(name for name, *_ in before["objects"] if "output" in name)
        third.client("s3").get_waiter("object_exists").wait(
            Bucket=bucket, Key="waits/coffee.png", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        assert requests.get(f"{third.stand_in}/_stand_in/state", timeout=10).json()["credits_charged"] == 1
        assert third.cutout("letters", "list", "--all")["letters"] == before["letters"]["letters"]

        run = subprocess.run(
            [sys.executable, "-m", "cutout", "local", "--state", str(state)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == (
            1,
            f"Error: Another local cloud uses {state}: stop it, or name another folder.\n",
        )
