"""What the benchmark serves is enough for the functions that it measures."""

from pathlib import Path

import pytest

from bench import child
from bench.services import png, serving


@pytest.mark.parametrize("handler", ["ours", "naive"])
def test_images_become_cutouts(handler: child.Handler, tmp_path: Path) -> None:
    with serving(tmp_path, source=child.SOURCE.read_bytes(), result=png(100_000)) as services:
        log = child.run(services, handler, images=2, batches=1)

    assert log.calls["PutObject"] == log.calls["removal"] == 2
