"""A dead-letter queue, an upload queue and an input bucket in memory, as quick as ten thousand letters need."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError

from cutout.operations.deployment import Deployment

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class FakeAws:
    """The clients that work with letters. `before` is called with each action, such as "send"; it may raise.

    The ids of letters are the keys of their uploads.
    """

    def __init__(self, letters: Iterable[str], code_of: Callable[[str], str] = lambda _: "service_unavailable") -> None:
        self.letters = {letter_id: body(letter_id) for letter_id in letters}
        self.hidden: set[str] = set()
        self.elsewhere: set[str] = set()  # letters that another command reads
        self.sent: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.overwritten: set[str] = set()
        self.refused: set[str] = set()
        self.settings = {"INPUT_PREFIX": ""}
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None
        self._code_of = code_of
        self._visible = dict.fromkeys(self.letters)
        self._lock = threading.Lock()

    @property
    def deployed(self) -> Deployment:
        stack = SimpleNamespace(
            sqs=self,
            s3=self,
            dead_letter_queue="letters",
            upload_queue="uploads",
            input_bucket="input",
            output_bucket="output",
            settings=self.settings,
        )
        return cast("Deployment", stack)

    def get_queue_attributes(self, **_: object) -> Any:  # noqa: ANN401
        self._called("count")
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(len(self.letters) - len(self.elsewhere)),
                "ApproximateNumberOfMessagesNotVisible": str(len(self.elsewhere)),
                "ApproximateNumberOfMessagesDelayed": "0",
            },
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(NOW, usegmt=True)}},
        }

    def receive_message(self, **_: object) -> Any:  # noqa: ANN401
        self._called("receive")
        with self._lock:
            found = []
            for letter_id in self._visible:
                if letter_id not in self.elsewhere:
                    found.append(letter_id)
                if len(found) == 10:
                    break
            for letter_id in found:
                del self._visible[letter_id]
            self.hidden.update(found)
            return {"Messages": [self._message(letter_id) for letter_id in found]}

    def _message(self, letter_id: str) -> Any:  # noqa: ANN401
        sent = NOW - timedelta(hours=1)
        attributes = {
            "ErrorCode": self._code_of(letter_id),
            "ErrorMessage": "Pixelcut answered 503.",
            "Billed": "maybe",
            "Attempts": "5",
        }
        return {
            "MessageId": letter_id,
            "ReceiptHandle": letter_id,
            "Body": self.letters[letter_id],
            "Attributes": {"SentTimestamp": str(int(sent.timestamp() * 1000))},
            "MessageAttributes": {name: {"StringValue": text} for name, text in attributes.items()},
        }

    def delete_message_batch(self, Entries: Any, **_: object) -> Any:  # noqa: ANN401, N803
        self._called("delete")
        with self._lock:
            for entry in Entries:
                del self.letters[entry["ReceiptHandle"]]
                self.hidden.discard(entry["ReceiptHandle"])
        self.after("delete")
        return {}

    def change_message_visibility_batch(self, Entries: Any, **_: object) -> Any:  # noqa: ANN401, N803
        self._called("release")
        with self._lock:
            for entry in Entries:
                if entry["ReceiptHandle"] in self.letters:
                    self._visible[entry["ReceiptHandle"]] = None
                self.hidden.discard(entry["ReceiptHandle"])
        return {}

    def send_message_batch(self, Entries: Any, **_: object) -> Any:  # noqa: ANN401, N803
        self._called("send")
        failed = []
        with self._lock:
            for entry in Entries:
                key = json.loads(entry["MessageBody"])["Records"][0]["s3"]["object"]["key"]
                if key in self.refused:
                    failed.append({"Id": entry["Id"]})
                else:
                    self.sent[key] += 1
        self.after("send")
        return {"Failed": failed}

    def head_object(self, Key: str, **_: object) -> Any:  # noqa: ANN401, N803
        self._called("head")
        if Key in self.gone:
            raise ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")  # type: ignore[typeddict-item]
        return {"ETag": '"other"' if Key in self.overwritten else '"etag"'}

    def get_object(self, **_: object) -> Any:  # noqa: ANN401
        raise ClientError({"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "GetObject")  # type: ignore[typeddict-item]

    def delete_object(self, Key: str, **_: object) -> Any:  # noqa: ANN401, N803
        self._called("delete_object")
        with self._lock:
            self.gone.add(Key)
        return {}

    def _called(self, action: str) -> None:
        with self._lock:
            self.calls[action] += 1
        self.before(action)


def body(key: str) -> str:
    object_ = {"key": key, "eTag": "etag", "size": 8, "sequencer": "0055AED6DCD90281E5"}
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "input"}, "object": object_}}
    return json.dumps({"Records": [record]})


def refusal(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)
