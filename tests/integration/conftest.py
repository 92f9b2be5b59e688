"""What tests against real servers on this machine share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cutout.local.pixelcut import StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn(quick=True) as running:
        yield running


@pytest.fixture
def photo() -> bytes:
    return Path("samples/astronaut.jpg").read_bytes()
