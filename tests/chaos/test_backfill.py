"""The backfill at a small size, in its own process, as a process can hold only one local cloud."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_restarted_backfill_enqueues_exactly_what_has_no_current_cutout() -> None:
    command = [sys.executable, "-m", "tests.chaos.backfill", "--uploads=1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
