"""The chaos run at a small size, in its own process, as a process can hold only one local cloud.

The drain and the outage are not among the tests: what they show takes minutes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(name: str, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.chaos.{name}", "--json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["broken"], done.stdout
    return dict(found["figures"])


def test_nothing_is_lost_or_paid_twice_or_stale_under_every_failure_at_once() -> None:
    moments = ["--seconds=6", "--empty-at=4", "--empty-for=5", "--kill-every", "3", "5", "--kill-for=12"]
    figures = run("chaos", "--uploads=60", *moments)
    assert figures["with their cutout"] >= 50
    assert figures["credits charged by the stand-in"] >= 50
