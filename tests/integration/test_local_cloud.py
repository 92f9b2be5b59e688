"""The local cloud behaves like S3, SQS, CloudFormation and Lambda, as far as the stack relies on them."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cutout.local.aws.deploy import DeployError
from cutout.local.aws.event_faults import EventFault
from cutout.local.cloud import LocalCloud

TEMPLATE = Path(__file__).parent / "functions" / "template.yaml"


def wait_for(look: Callable[[], Any], seconds: float = 20) -> Any:  # noqa: ANN401 whatever is found
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"nothing came within {seconds} seconds"
        time.sleep(0.02)
    return found


@dataclass
class Stack:
    """A queue that the function of functions/probe.py is mapped to, and a bucket that notifies the queue."""

    cloud: LocalCloud
    name: str
    outputs: dict[str, str]
    log: Path

    def send(self, *bodies: str) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        self.cloud.client("sqs").send_message_batch(QueueUrl=self.outputs["Queue"], Entries=entries)

    def printed(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def batches(self) -> list[dict[str, Any]]:
        """What the function was given, without S3's test of the notification."""
        given = [line for line in self.printed() if "records" in line]
        return [line for line in given if not any("s3:TestEvent" in record["body"] for record in line["records"])]

    def bodies(self) -> list[str]:
        return [record["body"] for line in self.batches() for record in line["records"]]

    def letters(self) -> set[str]:
        answer = self.cloud.client("sqs").receive_message(
            QueueUrl=self.outputs["Letters"], MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return {message["Body"] for message in answer.get("Messages", [])}

    def is_empty(self) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.cloud.client("sqs").get_queue_attributes(QueueUrl=self.outputs["Queue"], AttributeNames=names)
        return set(answer["Attributes"].values()) == {"0"}

    def mapping(self) -> str:
        (mapping,) = self.cloud.client("lambda").list_event_source_mappings(FunctionName=self.outputs["Function"])[
            "EventSourceMappings"
        ]
        return str(mapping["UUID"])

    def invoke(self, *bodies: str) -> dict[str, Any]:
        event = {"Records": [{"body": body, "messageId": body} for body in bodies]}
        answer = self.cloud.client("lambda").invoke(
            FunctionName=self.outputs["Function"], Payload=json.dumps(event).encode()
        )
        return {"error": answer.get("FunctionError"), "payload": json.loads(answer["Payload"].read())}


Deploy = Callable[..., Stack]


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def cloud(log_dir: Path) -> Iterator[LocalCloud]:
    with LocalCloud(log_dir=log_dir) as running:
        yield running


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"stack-{number}" for number in count(1))


@pytest.fixture
def deploy(cloud: LocalCloud, log_dir: Path, names: Iterator[str]) -> Iterator[Deploy]:
    """Makes a stack, or changes the one of that `name`; ready once S3's test of the notification is dealt with."""
    made: set[str] = set()

    def deploy(name: str | None = None, *, ready: bool = True, **parameters: str) -> Stack:
        name = name or next(names)
        outputs = cloud.deploy(TEMPLATE, stack_name=name, parameters=parameters)
        made.add(name)
        stack = Stack(cloud, name, outputs, log_dir / f"{outputs['Function']}.log")
        if ready:
            wait_for(lambda: stack.printed() and stack.is_empty())
        return stack

    yield deploy
    for name in made:
        cloud.client("cloudformation").delete_stack(StackName=name)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def records_of(stack: Stack) -> list[dict[str, Any]]:
    return [record for body in stack.bodies() for record in json.loads(body)["Records"]]


def test_the_function_receives_an_upload_as_s3_and_sqs_send_it(deploy: Deploy) -> None:
    stack = deploy()
    bucket = stack.outputs["Bucket"]
    s3 = stack.cloud.client("s3")
    put = s3.put_object(Bucket=bucket, Key="a b/ü+100%.jpg", Body=b"image")
    s3.put_object(Bucket=bucket, Key="a b/ü+100%.jpg", Body=b"newer image")
    s3.put_object(Bucket=bucket, Key="ignored.png", Body=b"image")
    wait_for(lambda: len(stack.bodies()) == 2)

    first, second = sorted(records_of(stack), key=lambda record: record["s3"]["object"]["size"])  # SQS keeps no order
    assert first["eventSource"] == "aws:s3"
    assert first["eventName"] == "ObjectCreated:Put"
    assert first["awsRegion"] == stack.cloud.region
    assert first["s3"]["bucket"]["name"] == bucket
    upload = first["s3"]["object"]
    assert upload["key"] == "a+b/%C3%BC%2B100%25.jpg"
    assert upload["size"] == 5
    assert upload["eTag"] == put["ETag"].strip('"')
    assert upload["versionId"] == put["VersionId"]
    sequencers = [record["s3"]["object"]["sequencer"] for record in (first, second)]
    assert all(int(sequencer, 16) for sequencer in sequencers)
    assert sequencers[0].ljust(24, "0") < sequencers[1].ljust(24, "0")

    message = stack.batches()[0]["records"][0]
    assert message.keys() == {
        "messageId", "receiptHandle", "body", "attributes", "messageAttributes",
        "md5OfBody", "eventSource", "eventSourceARN", "awsRegion",
    }  # fmt: skip
    assert message["attributes"].keys() >= {
        "ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp",
    }  # fmt: skip
    assert message["eventSourceARN"].endswith(stack.outputs["Queue"].rsplit("/", 1)[1])
    wait_for(stack.is_empty)


def test_message_attributes_are_passed_on(deploy: Deploy) -> None:
    stack = deploy()
    stack.cloud.client("sqs").send_message(
        QueueUrl=stack.outputs["Queue"],
        MessageBody="attributes",
        MessageAttributes={
            "Text": {"DataType": "String", "StringValue": "ü"},
            "Bytes": {"DataType": "Binary", "BinaryValue": b"\0\1"},
        },
    )
    wait_for(stack.bodies)
    attributes = stack.batches()[0]["records"][0]["messageAttributes"]
    assert attributes["Text"]["dataType"] == "String"
    assert attributes["Text"]["stringValue"] == "ü"
    assert attributes["Bytes"]["binaryValue"] == "AAE="


def test_s3_sends_a_test_event_for_a_new_notification(deploy: Deploy) -> None:
    stack = deploy()
    (record,) = stack.printed()[0]["records"]
    assert json.loads(record["body"])["Event"] == "s3:TestEvent"
    assert json.loads(record["body"])["Bucket"] == stack.outputs["Bucket"]


def test_a_multipart_upload_and_a_copy_send_one_event_each(deploy: Deploy) -> None:
    stack = deploy()
    s3 = stack.cloud.client("s3")
    upload = {"Bucket": stack.outputs["Bucket"], "Key": "parts.jpg"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"image")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    source = {"Bucket": upload["Bucket"], "Key": "parts.jpg"}
    s3.copy_object(Bucket=upload["Bucket"], Key="copy.jpg", CopySource=source)
    wait_for(lambda: len(stack.bodies()) >= 2 and stack.is_empty())
    assert {record["s3"]["object"]["key"]: record["eventName"] for record in records_of(stack)} == {
        "parts.jpg": "ObjectCreated:CompleteMultipartUpload",
        "copy.jpg": "ObjectCreated:Copy",
    }
    assert len(stack.bodies()) == 2


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (EventFault("bare", without=("versionId", "sequencer")), {}),
        (EventFault("bare", empty=("versionId",), without=("sequencer",)), {"versionId": ""}),
    ],
)
def test_an_event_may_lack_fields_that_not_every_bucket_has(
    deploy: Deploy, cloud: LocalCloud, fault: EventFault, expected: dict[str, str]
) -> None:
    stack = deploy()
    cloud.set_event_faults(fault)
    for key in ("bare.jpg", "whole.jpg"):
        stack.cloud.client("s3").put_object(Bucket=stack.outputs["Bucket"], Key=key, Body=b"image")
    wait_for(lambda: len(stack.bodies()) == 2)
    cloud.set_event_faults()
    objects = [record["s3"]["object"] for record in records_of(stack)]
    bare, whole = sorted(objects, key=lambda found: str(found["key"]))
    assert {name: bare[name] for name in ("versionId", "sequencer") if name in bare} == expected
    assert {"versionId", "sequencer"} <= whole.keys()


def test_a_batch_is_never_larger_than_its_size(deploy: Deploy) -> None:
    stack = deploy(BatchSize="3")
    stack.send(*"abcdefg")
    wait_for(lambda: len(stack.bodies()) >= 7 and stack.is_empty())
    assert max(len(line["records"]) for line in stack.batches()) == 3
    assert sorted(stack.bodies()) == list("abcdefg")


def test_a_batching_window_lets_a_batch_fill_up(deploy: Deploy) -> None:
    stack = deploy(Window="1")
    stack.send("a", "b")
    time.sleep(0.3)  # they come apart
    stack.send("c")
    wait_for(stack.bodies)
    assert sorted(stack.bodies()) == ["a", "b", "c"]
    assert len(stack.batches()) == 1


def test_only_reported_failures_return_to_the_queue_and_become_letters(deploy: Deploy) -> None:
    stack = deploy(VisibilityTimeout="1")
    stack.send("fine", "fail")
    assert wait_for(stack.letters) == {"fail"}
    wait_for(stack.is_empty)
    assert sorted(stack.bodies()) == ["fail", "fail", "fine"]
    counts = [
        record["attributes"]["ApproximateReceiveCount"]
        for line in stack.batches()
        for record in line["records"]
        if record["body"] == "fail"
    ]
    assert counts == ["1", "2"]


def test_a_function_that_raises_fails_its_whole_batch(deploy: Deploy) -> None:
    stack = deploy(VisibilityTimeout="3", Window="1")  # a poll may find one of two messages; the window joins them
    stack.send("fine", "raise")
    wait_for(lambda: stack.letters() == {"fine", "raise"})
    assert [len(line["records"]) for line in stack.batches()] == [2, 2]
    assert "[ERROR] RuntimeError: told to raise" in stack.log.read_text()


def test_an_answer_is_read_as_lambda_documents(deploy: Deploy) -> None:
    stack = deploy(VisibilityTimeout="1", BatchSize="1")
    successes = ["null", "{}", '{"batchItemFailures":null}', '{"batchItemFailures":[]}']
    failures = [
        '"done"',
        '{"batchItemFailures":[{"itemIdentifier":""}]}',
        '{"batchItemFailures":[{"itemIdentifier":null}]}',
        '{"batchItemFailures":[{"itemIdentifier":"unknown"}]}',
        '{"batchItemFailures":[{"messageId":"wrong-name"}]}',
        '{"batchItemFailures":["wrong-form"]}',
    ]
    stack.send(*(f"answer {answer}" for answer in successes + failures))
    wait_for(stack.is_empty)
    assert stack.letters() == {f"answer {answer}" for answer in failures}


def test_an_invocation_that_overruns_its_timeout_is_killed_and_its_environment_replaced(deploy: Deploy) -> None:
    stack = deploy(Timeout="1")
    stack.send("sleep 30")
    pid = wait_for(stack.batches)[0]["pid"]
    wait_for(lambda: not is_running(pid))
    wait_for(lambda: "Task timed out after 1.00 seconds" in stack.log.read_text())
    stack.send("next")
    wait_for(lambda: "next" in stack.bodies())
    assert stack.batches()[-1]["pid"] != pid


def test_an_environment_that_is_killed_fails_its_invocation_and_is_replaced(deploy: Deploy) -> None:
    stack = deploy(VisibilityTimeout="2")
    stack.send("sleep 1.5")
    pid = wait_for(stack.batches)[0]["pid"]
    assert stack.cloud.kill_environments() >= 1
    wait_for(lambda: "signal: SIGKILL" in stack.log.read_text())
    assert not is_running(pid)
    wait_for(lambda: len(stack.batches()) == 2)  # the message became visible again
    assert stack.batches()[1]["pid"] != pid


def test_a_process_that_exits_fails_its_invocation(deploy: Deploy) -> None:
    answer = deploy().invoke("exit")
    assert answer["error"]
    assert answer["payload"]["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in answer["payload"]["errorMessage"]


def test_a_handler_that_cannot_be_loaded_says_why_in_the_log(deploy: Deploy) -> None:
    stack = deploy(Handler="unloadable.handle", ready=False)
    answer = stack.invoke("anything")
    assert answer["error"]
    assert answer["payload"]["errorMessage"] == "told not to load"
    assert "RuntimeError: told not to load" in stack.log.read_text()


def events_of(stack: Stack, group: str) -> list[dict[str, Any]]:
    logs = stack.cloud.client("logs")
    try:
        found: list[dict[str, Any]] = logs.filter_log_events(logGroupName=group)["events"]
    except logs.exceptions.ResourceNotFoundException:  # nothing was delivered yet
        return []
    return found


@pytest.mark.parametrize("own", ["no", "yes"])
def test_what_a_function_prints_is_delivered_to_its_log_group(deploy: Deploy, own: str) -> None:
    began = int(time.time() * 1000)
    stack = deploy(OwnLogGroup=own)
    functions = stack.cloud.client("lambda")
    group = functions.get_function_configuration(FunctionName=stack.outputs["Function"])["LoggingConfig"]["LogGroup"]
    default = f"/aws/lambda/{stack.outputs['Function']}"
    assert (group == default) == (own == "no")

    stack.invoke("hello", "raise")
    found = wait_for(lambda: [e for e in events_of(stack, group) if "told to raise" in e["message"]])
    assert began <= found[0]["timestamp"] <= time.time() * 1000
    wait_for(lambda: [e["message"] for e in events_of(stack, group)] == stack.log.read_text().splitlines(keepends=True))
    environs = [line["environ"] for line in stack.printed() if "environ" in line]
    assert {environ["AWS_LAMBDA_LOG_GROUP_NAME"] for environ in environs} == {group}
    assert {e["logStreamName"] for e in events_of(stack, group)} == {
        environ["AWS_LAMBDA_LOG_STREAM_NAME"] for environ in environs
    }


def test_each_environment_has_its_own_log_stream(deploy: Deploy) -> None:
    stack = deploy()
    group = f"/aws/lambda/{stack.outputs['Function']}"
    stack.invoke("exit")
    stack.invoke("once more")

    wait_for(lambda: "once more" in "".join(e["message"] for e in events_of(stack, group)))
    streams = stack.cloud.client("logs").describe_log_streams(logGroupName=group)["logStreams"]
    assert len(streams) == 2


def test_a_log_stream_deleted_with_its_group_is_not_recreated(deploy: Deploy) -> None:
    stack = deploy()
    group = f"/aws/lambda/{stack.outputs['Function']}"
    wait_for(lambda: events_of(stack, group))
    stack.cloud.client("logs").delete_log_group(logGroupName=group)

    stack.invoke("lost")
    stack.invoke("exit")  # what is printed from now on is another environment's
    stack.invoke("delivered")
    wait_for(lambda: "delivered" in "".join(e["message"] for e in events_of(stack, group)))
    assert "lost" not in "".join(e["message"] for e in events_of(stack, group))


def test_a_warm_environment_is_reused(deploy: Deploy) -> None:
    stack = deploy()
    pids = set()
    for body in "abc":
        stack.send(body)
        wait_for(lambda: stack.bodies()[-1:] == [body] and stack.is_empty())  # noqa: B023 called at once
        pids.add(stack.batches()[-1]["pid"])
    assert len(pids) == 1
    log = stack.log.read_text()
    assert log.count("Init Duration") == 1
    assert log.count("START RequestId") == log.count("END RequestId") == log.count("REPORT RequestId") == 4


def test_no_more_batches_run_at_once_than_allowed(deploy: Deploy) -> None:
    stack = deploy(BatchSize="1", MaximumConcurrency="2")
    stack.send(*["sleep 0.4"] * 5)
    wait_for(lambda: len(stack.bodies()) == 5 and stack.is_empty())
    running: set[int] = set()
    most = 0
    for line in stack.printed():
        if "records" in line:
            running.add(line["pid"])
        else:
            running.remove(line["done"])
        most = max(most, len(running))
    assert most == 2


def test_a_disabled_mapping_leaves_messages_in_the_queue(deploy: Deploy) -> None:
    stack = deploy()
    client = stack.cloud.client("lambda")
    mapping = stack.mapping()
    client.update_event_source_mapping(UUID=mapping, Enabled=False)
    time.sleep(2)  # there is no sign that the last poll has ended
    stack.send("waits")
    time.sleep(1)
    enabled_at = time.time() * 1000
    client.update_event_source_mapping(UUID=mapping, Enabled=True)
    wait_for(stack.bodies)
    attributes = stack.batches()[0]["records"][0]["attributes"]
    assert int(attributes["ApproximateFirstReceiveTimestamp"]) >= enabled_at


def test_deploying_again_updates_the_stack(deploy: Deploy) -> None:
    stack = deploy()
    changed = deploy(stack.name, Marker="second", Suffix=".png", ready=False)
    assert changed.outputs == stack.outputs
    stack.cloud.client("s3").put_object(Bucket=stack.outputs["Bucket"], Key="photo.jpg", Body=b"ignored now")
    stack.cloud.client("s3").put_object(Bucket=stack.outputs["Bucket"], Key="photo.png", Body=b"image")
    wait_for(stack.bodies)
    assert [record["s3"]["object"]["key"] for record in records_of(stack)] == ["photo.png"]
    assert stack.printed()[0]["environ"]["MARKER"] == "first"
    assert stack.batches()[0]["environ"]["MARKER"] == "second"
    assert stack.batches()[0]["pid"] != stack.printed()[0]["pid"]


def test_an_environment_sees_its_function_and_nothing_of_this_machine(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    given = deploy().printed()[0]
    environ = given["environ"]
    assert environ["NUMBER"] == "5"
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert environ["_HANDLER"] == "probe.handle"
    assert not {"AWS_PROFILE", "HTTPS_PROXY"} & environ.keys()
    assert given["file"] == f"{environ['LAMBDA_TASK_ROOT']}/probe.py"
    assert Path(given["file"]).parent != TEMPLATE.parent


def test_an_artefact_that_is_already_in_s3_is_used_unchanged(cloud: LocalCloud, deploy: Deploy, tmp_path: Path) -> None:
    stack = deploy()
    artefacts = cloud.client("s3").list_objects_v2(Bucket="local-artefacts")["Contents"]
    assert len(artefacts) == 1  # the same code is the same artefact
    packaged = tmp_path / "packaged.yaml"
    code = f"s3://local-artefacts/{artefacts[0]['Key']}"
    packaged.write_text(TEMPLATE.read_text().replace("CodeUri: .", f"CodeUri: {code}"))
    assert cloud.deploy(packaged, stack_name=stack.name) == stack.outputs
    assert stack.invoke("hello") == {"error": None, "payload": {"batchItemFailures": []}}


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("Runtime: python3.13", "Nonsense: 1", "Nonsense"),
        ("Queue: !GetAtt Queue.Arn", "Queue: !GetAtt Missing.Arn", "Missing"),
    ],
)
def test_a_wrong_template_is_refused_with_the_reason(
    cloud: LocalCloud, tmp_path: Path, right: str, wrong: str, reason: str
) -> None:
    template = tmp_path / "wrong.yaml"
    code = f"CodeUri: {TEMPLATE.parent}"
    template.write_text(TEMPLATE.read_text().replace("CodeUri: .", code).replace(right, wrong))
    with pytest.raises(DeployError, match=reason):
        cloud.deploy(template, stack_name="wrong")


def test_endless_output_does_not_prevent_the_timeout(deploy: Deploy) -> None:
    stack = deploy(Handler="endless.handle", Timeout="1", ready=False)
    assert "timed out" in stack.invoke("anything")["payload"]["errorMessage"]


def test_exactly_one_of_many_conditional_writes_succeeds(cloud: LocalCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="conditional-writes")
    answers = []

    def write() -> None:
        try:
            s3.put_object(Bucket="conditional-writes", Key="cutout.png", Body=b"x" * 100_000, IfNoneMatch="*")
            answers.append(200)
        except ClientError as error:
            answers.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [412] * 7


def test_receives_at_the_same_time_share_the_messages(cloud: LocalCloud) -> None:
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="shared-messages")["QueueUrl"]
    for first in range(0, 100, 10):
        entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(first, first + 10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10), range(10)))
    bodies = [message["Body"] for answer in answers for message in answer["Messages"]]
    assert sorted(bodies, key=int) == [str(number) for number in range(100)]


def test_a_long_poll_waits_for_a_message_and_no_longer_than_asked(cloud: LocalCloud) -> None:
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="long-poll")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    with ThreadPoolExecutor(1) as threads:
        polled = threads.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=url, MessageBody="late")
        (message,) = polled.result(timeout=15)["Messages"]
    assert message["Body"] == "late"


@pytest.mark.parametrize(("sent", "stored"), [("1800000000.500", "1800000000.5"), ("60.000", "60"), ("100", "100")])
def test_a_number_is_stored_without_the_zeros_at_its_end(cloud: LocalCloud, sent: str, stored: str) -> None:
    dynamodb = cloud.client("dynamodb")
    table = f"numbers-{stored}"
    dynamodb.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    update: dict[str, Any] = {
        "TableName": table,
        "Key": {"id": {"S": "item"}},
        "UpdateExpression": "SET #number = :sent",
        "ExpressionAttributeNames": {"#number": "number"},
        "ExpressionAttributeValues": {":sent": {"N": sent}},
    }
    dynamodb.update_item(**update)
    again = dynamodb.update_item(**update, ConditionExpression="#number = :sent", ReturnValues="ALL_NEW")
    assert again["Attributes"]["number"] == {"N": stored}


def test_an_empty_object_can_be_uploaded(cloud: LocalCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="empty-objects")
    s3.put_object(Bucket="empty-objects", Key="empty.jpg", Body=b"")
    assert s3.head_object(Bucket="empty-objects", Key="empty.jpg")["ContentLength"] == 0


@pytest.mark.parametrize(
    "key", ["a b/ü.jpg", "100%.jpg", "%41.jpg", "a+b.jpg", "a?b&c=#d.jpg", "a//b.jpg", 'it\'s "q" 😀']
)
def test_any_key_and_its_metadata_are_returned_unchanged(cloud: LocalCloud, key: str) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="any-keys")
    s3.put_object(Bucket="any-keys", Key=key, Body=key.encode(), Metadata={"source-key": "a%20b", "UPPER": "x"})
    answer = s3.get_object(Bucket="any-keys", Key=key, Range="bytes=0-")
    assert answer["Body"].read() == key.encode()
    assert answer["Metadata"] == {"source-key": "a%20b", "upper": "x"}
    s3.delete_object(Bucket="any-keys", Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket="any-keys")


def test_idle_connections_do_not_block_new_ones(cloud: LocalCloud) -> None:
    port = int(cloud.endpoint_url.rsplit(":", 1)[1])
    with ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        late = idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        late.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert late.recv(100).startswith(b"HTTP/1.1 200")


def test_a_second_local_cloud_in_the_process_is_refused(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.client("s3").create_bucket(Bucket="of-the-first")
    with pytest.raises(RuntimeError, match="already"), LocalCloud(log_dir=tmp_path):
        pass
    cloud.client("s3").head_bucket(Bucket="of-the-first")
