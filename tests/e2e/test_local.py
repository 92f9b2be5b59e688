import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "cutout", "local"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]},
    ) as process:
        yield process
        process.kill()


def read_until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ready"):
            break
    return "".join(lines)


def test_what_it_prints_is_enough_to_use_it(local: subprocess.Popen[str]) -> None:
    said = read_until_ready(local)
    found = re.search(
        r"aws --endpoint-url (?P<endpoint>\S+) s3 cp photo.jpg s3://(?P<input>\S+)/\n"
        r".* s3 cp s3://(?P<output>\S+)/photo.png",
        said,
    )
    assert found, said
    environment = dict(re.findall(r"(AWS_\w+)=(\S+)", said))
    s3 = boto3.client(
        "s3",
        endpoint_url=found["endpoint"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.upload_file(str(SAMPLES / "coffee.png"), found["input"], "photo.png")
    s3.get_waiter("object_exists").wait(
        Bucket=found["output"], Key="photo.png", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(local: subprocess.Popen[str], signal_: signal.Signals) -> None:
    read_until_ready(local)
    local.send_signal(signal_)
    rest, _ = local.communicate(timeout=10)
    assert (local.returncode, rest) == (0, "Stopped.\n")


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "cutout", "local", "--port", str(port)], capture_output=True, text=True, check=False
        )

    assert result.returncode == 2
    assert f"--port: {port} is taken." in result.stderr
