import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def options() -> list[str]:
    return []


@pytest.fixture
def local(tmp_path: Path, options: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "cutout", "local", *options],
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


def client(service: str, said: str) -> Any:  # noqa: ANN401 its type depends on the service
    """An AWS client as after exporting the printed variables."""
    environment = dict(re.findall(r"(AWS_\w+)=(\S+)", said))
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def test_what_it_prints_is_enough_to_use_it(local: subprocess.Popen[str]) -> None:
    said = read_until_ready(local)
    found = re.search(
        r'aws --endpoint-url "\$AWS_ENDPOINT_URL" s3 cp photo.jpg s3://(?P<input>\S+)/\n.* s3 cp s3://(?P<output>\S+)/photo.png',
        said,
    )
    assert found, said
    s3 = client("s3", said)
    s3.upload_file(str(SAMPLES / "coffee.png"), found["input"], "photo.png")
    s3.get_waiter("object_exists").wait(
        Bucket=found["output"], Key="photo.png", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    s3.upload_file(str(SAMPLES / "too-small.jpg"), found["input"], "too-small.jpg")
    assert local.stdout
    shown = [next(local.stdout).split("  ", 1)[1] for _ in range(4)]  # each after its time
    assert sorted(shown) == [
        "photo.png: cutout\n",
        "photo.png: uploaded, 466.7 kB\n",
        "too-small.jpg: letter, resolution_too_low: The image has 94x63 pixels; at least 64x64 are needed.\n",
        "too-small.jpg: uploaded, 3.1 kB\n",
    ]


def test_the_commands_that_it_prints_can_be_called(local: subprocess.Popen[str]) -> None:
    said = read_until_ready(local)
    (status,) = re.findall(r"^  (.+) status$", said, re.MULTILINE)
    exports = "\n".join(re.findall(r"^  (export .+)$", said, re.MULTILINE))

    run = subprocess.run(
        ["bash", "-c", f"{exports}\n{status} status --json"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert '"letters"' in run.stdout
    address = re.search(r"Make it fail: (\S+)", said)
    assert address
    assert requests.get(address[1], timeout=10).status_code == 200


def test_the_console_that_it_prints_can_be_opened(local: subprocess.Popen[str]) -> None:
    said = read_until_ready(local)
    address = re.search(r"http://\S+/enter\?token=\S+", said)
    assert address, said

    with requests.Session() as browser:
        page = browser.get(address[0], timeout=10)

    assert page.status_code == 200
    assert "Ended last" in page.text
    assert local.stdout
    assert "For another browser: http://127.0.0.1:" in next(local.stdout)


@pytest.mark.parametrize("options", [["--no-deploy"]])
def test_without_a_stack_it_prints_what_a_deployment_needs(local: subprocess.Popen[str]) -> None:
    said = read_until_ready(local)
    assert client("cloudformation", said).describe_stacks()["Stacks"] == []
    found = re.search(r"--parameter-overrides PixelcutApiUrl=(?P<api>\S+)\n.* --secret-string (?P<key>\S+)", said)
    assert found, said
    answer = requests.get(f"{found['api']}/v1/credits", headers={"X-API-KEY": found["key"]}, timeout=10)
    assert answer.status_code == 200


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_it_leaves_nothing(
    local: subprocess.Popen[str], signal_: signal.Signals, tmp_path: Path
) -> None:
    read_until_ready(local)
    local.send_signal(signal_)
    rest, _ = local.communicate(timeout=60)
    assert (local.returncode, rest) == (0, "Stopped.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "cutout", "local", "--port", str(port)], capture_output=True, text=True, check=False
        )

    assert result.returncode == 2
    assert f"--port: {port} is taken." in result.stderr
