"""The letters at a small size, in its own process, as a process can hold only one local cloud."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_replay_that_is_killed_loses_no_letter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.letters", "--uploads=200", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert figures["letters lost"] == 0
    assert figures["sent when it was killed"] >= 100
