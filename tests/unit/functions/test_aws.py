from types import SimpleNamespace
from typing import Any

import pytest

from remove_background.aws import Clients
from remove_background.aws_errors import NotRepeatedError


def test_every_client_gives_up_in_time_and_has_a_connection_for_each_thread() -> None:
    made = Clients(threads=7)
    clients = (made.s3, made.dynamodb, made.secrets, made.sqs, made.functions)
    assert [client.meta.service_model.service_name for client in clients] == [
        "s3",
        "dynamodb",
        "secretsmanager",
        "sqs",
        "lambda",
    ]
    for client in clients:
        config: Any = client.meta.config
        assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (5, 20, 7)
        assert config.retries == {"mode": "standard", "total_max_attempts": 3}


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"amz-sdk-request": "attempt=1; max=3"}, {"amz-sdk-request": "attempt=2; max=3"}),
        ({"amz-sdk-request": b"attempt=1; max=3"}, {"amz-sdk-request": b"attempt=2; max=3"}),
        ({"amz-sdk-request": "attempt=1"}, {}),
    ],
)
def test_a_cutout_is_sent_once_and_only_by_an_sdk_that_counts_its_attempts(
    first: dict[str, object], again: dict[str, object]
) -> None:
    events = Clients(threads=1).s3.meta.events
    events.emit("before-send.s3.PutObject", request=SimpleNamespace(headers=first))
    with pytest.raises(NotRepeatedError):
        events.emit("before-send.s3.PutObject", request=SimpleNamespace(headers=again))
