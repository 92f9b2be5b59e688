"""The AWS in memory gives the answers that moto gives, for any sequence of the calls that the code makes."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from .aws import decimal_text, receive, replace_message, serve
from .clients import Clients
from .processes import Answer, Call
from .state import State

KEYS = ("a", "b")
CONTENTS = (b"", b"one", b"two")
_SETTINGS = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def _client(service: str) -> Any:
    make: Any = boto3.client
    return make(service, region_name="eu-west-1")


def _ours() -> tuple[State, Clients]:
    state = State()

    def call(service: str, method: str, *args: Any) -> Answer:
        return serve(state, Call(service, method, args))

    return state, Clients(call)


def _outcome(call: Callable[..., Any], kept: tuple[str, ...], **arguments: Any) -> object:
    """What a call answers of what the code reads, or its error's code, status and item."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        response: Any = error.response
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        return response["Error"]["Code"], status, _sorted(response.get("Item"))
    found = {name: answer.get(name) for name in kept}
    if "Body" in found:
        found["Body"] = answer["Body"].read()
    return {name: _sorted(value) for name, value in found.items()}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["N"]:  # moto keeps zeros that say nothing
            return {"N": decimal_text(Decimal(value["N"]))}
        return {name: _sorted(part) for name, part in value.items()}
    return sorted(value) if isinstance(value, list) else value


_etag = st.sampled_from([None, *('"' + letter * 32 + '"' for letter in "a"), "current", "other"])
_s3_call = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from(CONTENTS), _etag, st.booleans()),
    st.tuples(st.just("head"), st.sampled_from(KEYS)),
    st.tuples(st.just("get"), st.sampled_from(KEYS), _etag, st.booleans()),
)


@_SETTINGS
@given(st.lists(_s3_call, min_size=1, max_size=12))
def test_s3_answers_as_moto_does(calls: list[tuple[Any, ...]]) -> None:
    theirs, (_, ours) = _client("s3"), _ours()
    bucket = f"bucket-{_number()}"
    theirs.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    etags: list[str] = []
    for what, key, *more in calls:
        arguments: dict[str, Any] = {"Bucket": bucket, "Key": key}
        kept: tuple[str, ...] = ("ETag",)
        if what == "put":
            content, if_match, only_new = more
            arguments |= {"Body": content, "Metadata": {"of": content.decode()}}
            if only_new:
                arguments["IfNoneMatch"] = "*"
            elif if_match:
                arguments["IfMatch"] = _an_etag(if_match, etags)
        elif what == "head":
            kept = ("ETag", "Metadata")
        else:
            if_match, ranged = more
            kept = ("ETag", "Metadata", "Body")
            if if_match:
                arguments["IfMatch"] = _an_etag(if_match, etags)
            if ranged:
                arguments["Range"] = "bytes=0-99"
        name = {"put": "put_object", "head": "head_object", "get": "get_object"}[what]
        expected = _outcome(getattr(theirs, name), kept, **arguments)
        found = _outcome(getattr(ours.s3, name), kept, **arguments)
        assert found == expected, (name, arguments)
        if isinstance(expected, dict):
            etags.append(expected["ETag"])


def _an_etag(which: str, etags: list[str]) -> str:
    return (
        (etags[-1] if which == "current" else etags[0]) if etags and not which.startswith('"') else '"' + "a" * 32 + '"'
    )


_numbers = iter(range(1_000_000))


def _number() -> int:
    return next(_numbers)


_VALUES: dict[str, dict[str, Any]] = {
    ":one": {"N": "1"},
    ":two": {"N": "2.5"},
    ":text": {"S": "text"},
    ":other": {"S": "other"},
    ":set": {"SS": ["x", "y"]},
    ":part": {"SS": ["y", "z"]},
}
_NUMBERS, _TEXTS, _SETS = ("n", "m"), ("s", "t"), ("e", "f")


@st.composite
def _conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        left, right = draw(_conditions(depth - 1)), draw(_conditions(depth - 1))
        word = draw(st.sampled_from(("AND", "OR")))
        text = f"({left}) {word} {right}" if draw(st.booleans()) else f"{left} {word} {right}"
        return f"NOT ({text})" if draw(st.integers(0, 3)) == 0 else text
    kind = draw(st.integers(0, 4))
    if kind == 0:
        word = draw(st.sampled_from(("attribute_exists", "attribute_not_exists")))
        return f"{word}({draw(st.sampled_from(_NUMBERS + _TEXTS + _SETS))})"
    if kind == 1:
        operator = draw(st.sampled_from(("=", "<>", "<", "<=", ">", ">=")))
        return f"{draw(st.sampled_from(_NUMBERS))} {operator} {draw(st.sampled_from((':one', ':two')))}"
    if kind == 2:
        operator = draw(st.sampled_from(("=", "<>")))
        return f"{draw(st.sampled_from(_TEXTS))} {operator} {draw(st.sampled_from((':text', ':other')))}"
    if kind == 3:
        return f"contains({draw(st.sampled_from(_TEXTS + _SETS))}, :text)"
    return f"{draw(st.sampled_from(_NUMBERS))} < {draw(st.sampled_from(_NUMBERS))}"


# Of each kind of action: its clause, the attributes that it may write, and how it is written.
_ACTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("SET", _NUMBERS, ("{} = :one", "{} = :two", "{} = n + :one", "{} = m + :one")),
    ("SET", _NUMBERS, ("{0} = if_not_exists({0}, :two) + :one", "{0} = if_not_exists({0}, :two) - :one")),
    ("SET", _TEXTS, ("{} = :text", "{} = :other")),
    ("REMOVE", _NUMBERS + _TEXTS + _SETS, ("{}",)),
    ("ADD", _NUMBERS, ("{} :two",)),
    ("ADD", _SETS, ("{} :set", "{} :part")),
    ("DELETE", _SETS, ("{} :part",)),
)


@st.composite
def _updates(draw: st.DrawFn) -> str:
    written: set[str] = set()
    clauses: dict[str, list[str]] = {}
    for clause, names, texts in draw(st.lists(st.sampled_from(_ACTIONS), min_size=1, max_size=4)):
        name = draw(st.sampled_from(names))
        if name not in written:  # an attribute is written once
            written.add(name)
            clauses.setdefault(clause, []).append(draw(st.sampled_from(texts)).format(name))
    return " ".join(f"{clause} {', '.join(parts)}" for clause, parts in clauses.items())


_dynamodb_call = st.tuples(
    _updates(),
    st.none() | _conditions(),
    st.sampled_from(("NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")),
    st.sampled_from(("NONE", "ALL_OLD")),
)


@_SETTINGS
@given(st.lists(_dynamodb_call, min_size=1, max_size=8))
def test_dynamodb_answers_as_moto_does(calls: list[tuple[str, str | None, str, str]]) -> None:
    theirs, (_, ours) = _client("dynamodb"), _ours()
    table = f"table-{_number()}"
    theirs.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for update, condition, returned, on_failure in calls:
        expression = f"{update} {condition or ''}"
        values = {name: value for name, value in _VALUES.items() if name in expression}
        arguments: dict[str, Any] = {
            "TableName": table,
            "Key": {"id": {"S": "one"}},
            "UpdateExpression": update,
            "ReturnValues": returned,
            "ReturnValuesOnConditionCheckFailure": on_failure,
        }
        if condition:
            arguments["ConditionExpression"] = condition
        if values:
            arguments["ExpressionAttributeValues"] = values
        before = _item(ours)
        expected = _outcome(theirs.update_item, ("Attributes",), **arguments)
        found = _outcome(ours.dynamodb.update_item, ("Attributes",), **arguments)
        if returned.startswith("UPDATED") and isinstance(found, dict) and isinstance(expected, dict):
            # moto leaves out an attribute that was written and has the value that it had, and answers the key of an
            # item that is new; DynamoDB answers those that were written.
            after = _item(ours)
            changed = {name for name in after | before if name != "id" and before.get(name) != after.get(name)}
            found, expected = _only(found, changed), _only(expected, changed)
        assert _without_nothing(found) == _without_nothing(expected), arguments
        key = {"TableName": table, "Key": {"id": {"S": "one"}}, "ConsistentRead": True}
        assert _outcome(ours.dynamodb.get_item, ("Item",), **key) == _outcome(theirs.get_item, ("Item",), **key), (
            arguments
        )


def _only(answer: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {"Attributes": {name: value for name, value in (answer["Attributes"] or {}).items() if name in names}}


def _item(ours: Clients) -> dict[str, Any]:
    return dict(ours.dynamodb.get_item(TableName="table", Key={"id": {"S": "one"}}).get("Item", {}))


def _without_nothing(answer: object) -> object:
    """No attributes are answered as none at all, or as an empty map."""
    return {"Attributes": None} if answer == {"Attributes": {}} else answer


_sqs_call = st.sampled_from(("send", "send", "receive", "delete", "show", "hide"))


@_SETTINGS
@given(st.lists(_sqs_call, min_size=1, max_size=14))
def test_sqs_answers_as_moto_does(calls: list[str]) -> None:
    theirs, (state, ours) = _client("sqs"), _ours()
    url = theirs.create_queue(QueueName=f"queue-{_number()}", Attributes={"VisibilityTimeout": "800"})["QueueUrl"]
    attributes = {"Attempts": {"DataType": "Number", "StringValue": "2"}}
    held: list[tuple[str, str]] = []  # their receipts, and the bodies
    for number, what in enumerate(calls):
        if what == "send":
            for client in (theirs, ours.sqs):
                client.send_message(QueueUrl=url, MessageBody=f"body {number}", MessageAttributes=attributes)
        elif what == "receive":
            expected = theirs.receive_message(
                QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
            ).get("Messages", [])
            ready = {message.body: message for message in state.messages if message.visible <= state.clock}
            assert bool(ready) == bool(expected)
            for message in expected:
                taken = receive(state, ready[message["Body"]], "somebody")
                assert str(taken.receives) == message["Attributes"]["ApproximateReceiveCount"]
                assert taken.attributes == (("Attempts", "Number", "2"),)
                held.append((message["ReceiptHandle"], message["Body"]))
        elif held:
            receipt, body = held.pop()
            message_of = next(message for message in state.messages if message.body == body)
            if what == "delete":
                theirs.delete_message(QueueUrl=url, ReceiptHandle=receipt)
                replace_message(state, message_of)
            else:
                seconds = 0 if what == "show" else 800
                theirs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=seconds)
                ours.sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=f"somebody:{body}", VisibilityTimeout=seconds
                )
    left = theirs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    visible = [message for message in state.messages if message.visible <= state.clock]
    assert left["ApproximateNumberOfMessages"] == str(len(visible))
    assert left["ApproximateNumberOfMessagesNotVisible"] == str(len(state.messages) - len(visible))
