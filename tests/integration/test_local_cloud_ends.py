"""The local cloud leaves nothing behind, however it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import urllib3

from cutout.local.cloud import LocalCloud

TEMPLATE = Path(__file__).parent / "functions" / "template.yaml"

RUN = """
import signal, sys, time
from pathlib import Path
from cutout.local.cloud import LocalCloud

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
with LocalCloud(log_dir=Path(sys.argv[1])) as cloud:
    outputs = cloud.deploy(Path(sys.argv[2]))
    print(outputs["Function"], flush=True)
    time.sleep(60)
"""


def pid_of_environment(log: Path) -> int:
    while True:
        lines = log.read_text().splitlines() if log.exists() else []
        for line in lines:
            if line.startswith("{"):
                return int(json.loads(line)["pid"])
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """A zombie, which only its parent can bury, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the opening and the reading
        return False


def wait_until_gone(pid: int) -> None:
    ends = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < ends, "the environment still runs"
        time.sleep(0.02)


def test_it_ends_quickly_and_the_next_one_starts_empty(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with LocalCloud(log_dir=tmp_path) as cloud:
        outputs = cloud.deploy(TEMPLATE)
        pid = pid_of_environment(tmp_path / f"{outputs['Function']}.log")
        cloud.client("sqs").send_message(QueueUrl=outputs["Queue"], MessageBody="sleep 20")
        url = cloud.endpoint_url
        ended_at = time.monotonic()
    assert time.monotonic() - ended_at < 3
    assert not is_running(pid)
    assert set(threading.enumerate()) <= threads
    with pytest.raises(urllib3.exceptions.MaxRetryError), urllib3.PoolManager(retries=0) as pool:
        pool.request("GET", url)
    with LocalCloud(log_dir=tmp_path) as cloud:
        assert cloud.client("s3").list_buckets()["Buckets"] == []
        assert cloud.client("lambda").list_functions()["Functions"] == []
        assert cloud.client("sqs").list_queues().get("QueueUrls", []) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_environments_end_with_the_process_of_the_local_cloud(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path), str(TEMPLATE)]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    ) as process:
        assert process.stdout
        pid = pid_of_environment(tmp_path / f"{process.stdout.readline().strip()}.log")
        process.send_signal(end)
        wait_until_gone(pid)
        process.wait(timeout=10)
