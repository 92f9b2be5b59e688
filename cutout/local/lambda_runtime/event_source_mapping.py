"""SQS event source mappings: poll a queue, invoke the function with a batch, delete what succeeded, as Lambda does.

After a mapping was disabled, what it had received is still delivered, and so is what one more poll brings: AWS promises
nothing better, and its pollers are many machines.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

import base64
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cutout.local.lambda_runtime.delivery_faults import DeliveryFaults
from cutout.local.lambda_runtime.runtime_api import Outcome

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.type_defs import EventSourceMappingConfigurationTypeDef
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

LOOK_SECONDS = 0.2  # how often the mappings are read
POLL_SECONDS = 1  # how long a poll waits for messages, and so how long a superfluous one lasts
MOST_AT_ONCE = 10  # Lambda goes to 1,000; this is one machine
GONE = {"AWS.SimpleQueueService.NonExistentQueue", "ResourceNotFoundException"}  # the queue; the function
MOST_MESSAGES = 10  # of ReceiveMessage and of DeleteMessageBatch
POLLED = {"Enabled", "Disabling", "Updating"}  # an existing poller goes on
NO_SETTINGS = {"State", "StateTransitionReason", "LastModified"}


class EventSources:
    """Follows the mappings in its own thread: polls each enabled one, with its current settings."""

    def __init__(
        self,
        functions: "LambdaClient",
        queues: "SQSClient",
        invoke: Callable[[str, object], Outcome],
        faults: Callable[[], DeliveryFaults],
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """No queue is polled until it `may_begin`."""
        self._functions = functions
        self._queues = queues
        self._invoke = invoke
        self._faults = faults
        self._may_begin = may_begin
        self._pollers: dict[str, _Poller] = {}  # by the mapping's UUID
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="event-sources")
        self._thread.start()

    def stop(self) -> None:
        """Begins no more batches; `join` waits for those that run."""
        self._stopped.set()
        self._thread.join()
        for poller in self._pollers.values():
            poller.stop(at_once=True)

    def join(self) -> None:
        for poller in self._pollers.values():
            poller.join()

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            if not self._may_begin():
                continue
            mappings = {m["UUID"]: m for m in self._functions.list_event_source_mappings()["EventSourceMappings"]}
            for uuid, poller in list(self._pollers.items()):
                if poller.stopped or not poller.serves(mappings.get(uuid)):  # once stopped, it does not start again
                    poller.stop()
                    if poller.ended:  # only then another may begin: there would be more at once than allowed
                        del self._pollers[uuid]
            for uuid, mapping in mappings.items():
                if uuid not in self._pollers and mapping["State"] == "Enabled":
                    self._pollers[uuid] = _Poller(mapping, self._queues, self._invoke, self._faults)


class _Poller:
    """Runs as many threads as batches may run at once; one collects the next batch while the others work."""

    def __init__(
        self,
        mapping: "EventSourceMappingConfigurationTypeDef",
        queues: "SQSClient",
        invoke: Callable[[str, object], Outcome],
        faults: Callable[[], DeliveryFaults],
    ) -> None:
        self.mapping = mapping
        self._queues = queues
        self._invoke = invoke
        self._faults = faults
        self._collecting = threading.Lock()
        self._stopped = threading.Event()
        self._last_poll = threading.Semaphore(1)  # of all the threads, after the stop
        at_once = min(MOST_AT_ONCE, mapping.get("ScalingConfig", {}).get("MaximumConcurrency", MOST_AT_ONCE))
        self._threads = [threading.Thread(target=self._work, name=f"poller-{n}") for n in range(at_once)]
        for thread in self._threads:
            thread.start()

    @cached_property
    def _queue_url(self) -> str:
        return self._queues.get_queue_url(QueueName=self.mapping["EventSourceArn"].rsplit(":", 1)[1])["QueueUrl"]

    @property
    def ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def serves(self, mapping: "EventSourceMappingConfigurationTypeDef | None") -> bool:
        """False once the mapping was disabled, deleted or changed."""
        return mapping is not None and mapping["State"] in POLLED and _settings(mapping) == _settings(self.mapping)

    def stop(self, *, at_once: bool = False) -> None:
        """Delivers what is received, and what one more poll brings, unless it is to end `at_once`."""
        if at_once:
            self._last_poll.acquire(blocking=False)
        self._stopped.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set() or self._last_poll.acquire(blocking=False):
            try:
                with self._collecting:
                    batch = self._collect()
                if batch:
                    self._run(batch)
            except ClientError as error:
                if error.response["Error"]["Code"] not in GONE:
                    raise
                self._stopped.wait(LOOK_SECONDS)  # the stack is being deleted, and the mapping with it

    def _collect(self) -> "list[MessageTypeDef]":
        """Up to a batch of messages. With a batching window, waits that long after the first message for more."""
        batch: list[MessageTypeDef] = []
        size = self.mapping["BatchSize"]
        window_ends = None
        last = self._stopped.is_set()
        while len(batch) < size and (last or not self._stopped.is_set()):
            left = POLL_SECONDS if window_ends is None else window_ends - time.monotonic()
            if left <= 0:
                break
            messages = self._queues.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=min(MOST_MESSAGES, size - len(batch)),
                WaitTimeSeconds=0 if last else min(POLL_SECONDS, int(left)),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            batch += messages
            if last:
                break
            if batch and window_ends is None:
                window_ends = time.monotonic() + self.mapping.get("MaximumBatchingWindowInSeconds", 0)
            elif not messages and left < 1:
                self._stopped.wait(min(left, 0.1))  # a poll for less than a second does not wait
        return batch

    def _run(self, batch: "Sequence[MessageTypeDef]") -> None:
        faults = self._faults()
        if faults.throttles(self.mapping["EventSourceArn"], [message["Body"] for message in batch]):
            return  # they return to the queue after the visibility timeout
        event = {"Records": [self._record(message) for message in batch]}
        outcome = self._invoke(self.mapping["FunctionArn"], event)
        failed = self._failed(outcome, {message["MessageId"] for message in batch})
        done = (m for m in batch if m["MessageId"] not in failed and not self._repeats(m, faults))
        while some := list(itertools.islice(done, MOST_MESSAGES)):
            self._queues.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(some)],
            )

    def _repeats(self, message: "MessageTypeDef", faults: DeliveryFaults) -> bool:
        """Whether the deletion of a message is lost, as on a server of SQS that was unavailable."""
        seconds = faults.repeats_after(self.mapping["EventSourceArn"], message["Body"])
        if seconds is None:
            return False
        with contextlib.suppress(self._queues.exceptions.ReceiptHandleIsInvalid):  # its invisibility has ended already
            self._queues.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=round(seconds)
            )
        return True

    def _failed(self, outcome: Outcome, ids: set[str]) -> set[str]:
        """The messages that stay in the queue. As with Lambda, an answer that cannot be read fails the whole batch.

        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
        """
        if outcome.failed:
            return ids
        if "ReportBatchItemFailures" not in self.mapping.get("FunctionResponseTypes", []):
            return set()
        try:
            answer = json.loads(outcome.payload) or {}
            failed = {failure["itemIdentifier"] for failure in answer.get("batchItemFailures") or []}
        except (ValueError, TypeError, KeyError, AttributeError):  # not JSON, or not of that form
            return ids
        return failed if ids.issuperset(failed) else ids

    def _record(self, message: "MessageTypeDef") -> dict[str, object]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {
                name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()
            },
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.mapping["EventSourceArn"],
            "awsRegion": self.mapping["EventSourceArn"].split(":")[3],
        }


def _settings(mapping: "EventSourceMappingConfigurationTypeDef") -> dict[str, object]:
    return {name: value for name, value in mapping.items() if name not in NO_SETTINGS}


def _attribute(value: "MessageAttributeValueOutputTypeDef") -> Mapping[str, object]:
    content: dict[str, object] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        content["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        content["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return content
