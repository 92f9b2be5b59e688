"""Unit tests open no socket, and see only the credentials of `aws_environment`."""

from collections.abc import Iterator

import pytest
import pytest_socket
from moto import mock_aws
from moto.core.models import MockAWS


@pytest.fixture(autouse=True)
def _no_sockets(aws_environment: None) -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes its loop through a Unix socket


@pytest.fixture(scope="module")
def moto() -> Iterator[MockAWS]:
    """Started once for a module, as that takes longer than most tests. `clients` empties it for each test."""
    with mock_aws() as mock:
        yield mock
