"""Unit tests open no socket, and see no credentials but those of `aws_environment`."""

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def _no_sockets(aws_environment: None) -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio wakes its loop through one
