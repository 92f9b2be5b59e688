"""What an update does, and why moto refuses one with a single fault, is the same with the patches."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cutout.local.aws import dynamodb_patches

ITEM = {
    "id": {"S": "a"},
    "count": {"N": "3"},
    "names": {"SS": ["x", "y"]},
    "rows": {"L": [{"N": "0"}, {"N": "1"}, {"N": "2"}, {"N": "3"}]},
    "deep": {"M": {"a": {"M": {"b": {"S": "old"}}}, "n": {"N": "1"}}},
}
VALUES = {":one": {"N": "1"}, ":text": {"S": "new"}, ":rows": {"L": [{"N": "9"}]}, ":names": {"SS": ["y"]}}
NAMES = {"#count": "count", "#deep": "deep"}
UPDATES = [
    "SET absent = :one",
    "SET #count = #count + :one, absent = if_not_exists(absent, :text) REMOVE rows[0], rows[2]",
    "SET #count = #count - :one, first = if_not_exists(#count, :text)",
    "SET #deep.a.b = :text, #deep.n = #deep.n + #deep.n",
    "SET rows = list_append(rows, :rows), again = list_append(:rows, rows)",
    "SET rows = list_append(if_not_exists(absent, :rows), :rows)",
    "SET rows[1] = :text ADD #count :one DELETE names :names",
    "SET again = if_not_exists(id, :text)",
    "REMOVE #deep.a, #count",
    "ADD absent :one",
    # What is refused:
    "SET #count = :one, #count = :text",
    "SET #deep.a = :one, #deep.a.b = :text",
    "SET #count = :one REMOVE #count",
    "SET #count = :one SET absent = :one",
    "REMOVE #count REMOVE absent",
    "ADD #count :one ADD absent :one",
    "SET id = :text",
    "SET #count = #count + :text",
    "SET #count = :unknown",
    "SET absent = absent + :one",
    "SET absent.a = :one",
    "SET rows = list_append(#count, :rows)",
    "SET status = :one",
    "SET #count = ",
]


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield boto3.client("dynamodb", region_name="eu-central-1")


@pytest.mark.parametrize("item", [ITEM, {"id": {"S": "a"}}, None])
@pytest.mark.parametrize("update", UPDATES)
def test_an_update_does_what_it_does_without_them(
    dynamodb: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    update: str,
    item: dict[str, Any] | None,
) -> None:
    plain = outcome(dynamodb, "plain", update, item)
    for owner, name, replacement in dynamodb_patches.replacements():
        monkeypatch.setattr(owner, name, replacement(getattr(owner, name)))
    assert outcome(dynamodb, "patched", update, item) == plain


def outcome(dynamodb: Any, table: str, update: str, item: dict[str, Any] | None) -> tuple[str, object]:  # noqa: ANN401
    """What was answered, and the item after that."""
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    if item:
        dynamodb.put_item(TableName=table, Item=item)
    try:
        answer = dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": "a"}},
            UpdateExpression=update,
            ExpressionAttributeNames={name: called for name, called in NAMES.items() if name in update},
            ExpressionAttributeValues={name: value for name, value in VALUES.items() if name in update},
            ReturnValues="ALL_NEW",
        )["Attributes"]
    except ClientError as error:
        answer = error.response["Error"]
    return json.dumps(answer, sort_keys=True), dynamodb.scan(TableName=table)["Items"]
