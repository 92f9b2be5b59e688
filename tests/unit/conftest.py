"""Unit tests open no socket, and see only the credentials of `aws_environment`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_socket
from moto import mock_aws
from moto.core.models import MockAWS

from remove_background.aws import Clients


@pytest.fixture(autouse=True)
def _no_sockets(aws_environment: None) -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes its loop through a Unix socket


@pytest.fixture(scope="module")
def moto() -> Iterator[MockAWS]:
    """Started once for a module, as that takes longer than most tests. `clients` empties it for each test."""
    with mock_aws() as mock:
        yield mock


@pytest.fixture
def before_update(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Calls a function before each update of DynamoDB, with the arguments of the update."""

    def do_before(do: Callable[..., object]) -> None:
        update = clients.dynamodb.update_item

        def do_and_update(**call: Any) -> Any:  # noqa: ANN401
            do(call)
            return update(**call)

        monkeypatch.setattr(clients.dynamodb, "update_item", do_and_update)

    return do_before
