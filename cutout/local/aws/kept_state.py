"""What a stack of the local cloud holds, kept in a folder from one start to the next.

moto keeps nothing. What is kept are the objects, messages and items, with the ids, versions and times that they had,
so that what refers to them still does; AWS's API would give them new ones, and announce each object once more.
"""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

from moto.awslambda.models import lambda_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import FakeDeleteMarker, FakeKey, s3_backends
from moto.sqs.models import Message, sqs_backends

from cutout.failures import Failure
from cutout.local.aws.s3_patches import PARTITION

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON

# At the end of each name that CloudFormation gives, instead of random characters: a stack that is deployed again has
# the same names, as it has on AWS. What has none of them is not the stack's.
SUFFIX = "local"
_STATE, _OBJECTS, _LOCK = "state.json", "objects", "lock"
_FORMAT = 1
# What a message is, but for its receipts: nobody holds one after a start.
_OF_MESSAGES = (
    "id", "body", "message_attributes", "system_attributes", "sender_id", "sent_timestamp", "delayed_until",
    "approximate_receive_count", "approximate_first_receive_timestamp",
)  # fmt: skip
_OF_OBJECTS: tuple[str, ...] = (
    "_version_id",
    "_etag",
    "_storage_class",
    "_is_versioned",
    "encryption",
    "kms_key_id",
    "checksum_value",
)
_OF_DELETE_MARKERS: tuple[str, ...] = ("_version_id",)


class KeptState:
    """Is saved at a clean stop only: after a kill, what was saved at the last one stands.

    Until it is `restored`, no queue may be polled.
    """

    def __init__(self, folder: Path, region: str) -> None:
        self._folder = folder
        self._region = region
        self.restored = False
        self._contents: set[str] = set()  # the names of the files that the objects' contents are in

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Until the end of the block no other local cloud uses the folder. Raises Failure."""
        with self._open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f"Another local cloud uses {self._folder}: stop it, or name another folder.") from None
            yield

    def _open(self) -> IO[str]:
        try:
            names = {path.name for path in self._folder.iterdir()} if self._folder.exists() else set()
            if names and _LOCK not in names:
                raise Failure(f"{self._folder} holds something else: name a new folder for the state.")
            self._folder.mkdir(parents=True, exist_ok=True)
            return (self._folder / _LOCK).open("w")
        except OSError as error:
            raise Failure(f"{error.filename} cannot be used for the state: {error.strerror}.") from None

    def restore(self) -> None:
        """Call when the stack is deployed. Raises Failure for a state that cannot be read, or is another stack's."""
        try:
            if state := self._read():
                self._fill(state)
        except OSError as error:
            raise Failure(
                f"{error.filename} cannot be read ({error.strerror}): name a new folder for the state."
            ) from None
        self.restored = True

    def _read(self) -> dict[str, Any] | None:
        """None where nothing was kept yet."""
        try:
            state = json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise Failure(f"{self._folder / _STATE} is damaged: name a new folder for the state.") from None
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise Failure(f"{self._folder} was kept by another version of cutout: name a new folder for the state.")
        for kind, resources in self._resources().items():
            if missing := state[kind].keys() - resources.keys():
                raise Failure(
                    f"{self._folder} holds what was in {min(missing)}, which this template does not make: use the "
                    "template of then, or a new folder."
                )
        return state

    def _fill(self, state: dict[str, Any]) -> None:
        """Instead of what is in the queues: S3's test of the notification, which a stack gets when it is first made."""
        resources = self._resources()
        for name, items in state["tables"].items():
            for item in items:
                resources["tables"][name].put_item(item)
        for mapping in self._mappings():
            mapping.enabled = state["mappings"].get(mapping.event_source_arn, mapping.enabled)
        for name, objects in state["buckets"].items():
            for key, versions in objects.items():
                bucket = resources["buckets"][name]
                bucket.keys.setlist(key, [self._make_version(bucket, key, found) for found in versions])
        for name, messages in state["queues"].items():
            queue = resources["queues"][name]
            with queue._messages_lock:  # noqa: SLF001
                queue._messages[:] = map(_make_message, messages)  # noqa: SLF001
                queue._messages_lock.notify_all()  # noqa: SLF001

    def save(self) -> None:
        """Call when no function runs any more. Does nothing where the last state was not restored. Raises Failure."""
        if self.restored:
            try:
                self._save()
            except OSError as error:
                raise Failure(
                    f"The state was not saved ({error.filename}: {error.strerror}): {self._folder} holds that of the "
                    "stop before."
                ) from None

    def _save(self) -> None:
        (self._folder / _OBJECTS).mkdir(exist_ok=True)
        resources = self._resources()
        state = {
            "format": _FORMAT,
            "tables": {
                name: [item.to_json()["Attributes"] for item in table.all_items()]
                for name, table in _ours(resources["tables"])
            },
            "mappings": {mapping.event_source_arn: bool(mapping.enabled) for mapping in self._mappings()},
            "buckets": {
                name: {key: [self._keep_version(found) for found in versions] for key, versions in bucket.keys.lists()}
                for name, bucket in _ours(resources["buckets"])
            },
            "queues": {
                name: [{field: getattr(message, field) for field in _OF_MESSAGES} for message in queue._messages]  # noqa: SLF001
                for name, queue in _ours(resources["queues"])
            },
        }
        _write(self._folder / _STATE, json.dumps(state).encode())
        for path in (self._folder / _OBJECTS).iterdir():
            if path.name not in self._contents:
                path.unlink()

    def _resources(self) -> dict[str, Untyped]:
        """By kind and name. Not to be kept: a reset of moto puts others in their place."""
        return {
            "tables": dynamodb_backends[DEFAULT_ACCOUNT_ID][self._region].tables,
            "buckets": s3_backends[DEFAULT_ACCOUNT_ID][PARTITION].buckets,
            "queues": sqs_backends[DEFAULT_ACCOUNT_ID][self._region].queues,
        }

    def _mappings(self) -> Iterable[Untyped]:
        backend: Untyped = lambda_backends[DEFAULT_ACCOUNT_ID][self._region]
        return list(backend._event_source_mappings.values())  # noqa: SLF001

    def _keep_version(self, version: Untyped) -> dict[str, Any]:
        """As JSON; its content goes into a file that is named by it, and so is never overwritten by another."""
        is_marker = isinstance(version, FakeDeleteMarker)
        kept = {field: getattr(version, field) for field in (_OF_DELETE_MARKERS if is_marker else _OF_OBJECTS)}
        kept |= {"last_modified": version.last_modified.isoformat(), "content": None}
        if is_marker:
            return kept
        kept["content"] = hashlib.sha256(version.value).hexdigest()
        self._contents.add(kept["content"])
        path = self._folder / _OBJECTS / kept["content"]
        if not path.exists():
            _write(path, version.value)
        return kept | {"metadata": dict(version.metadata)}

    def _make_version(self, bucket: Untyped, key: str, kept: dict[str, Any]) -> Untyped:
        content = (self._folder / _OBJECTS / kept["content"]).read_bytes() if kept["content"] else b""
        made: Untyped = FakeKey(key, content, DEFAULT_ACCOUNT_ID, bucket.region_name, bucket_name=bucket.name)
        if kept["content"] is None:
            made, fields = FakeDeleteMarker(made), _OF_DELETE_MARKERS
        else:
            made.metadata.update(kept["metadata"])
            fields = _OF_OBJECTS
        for field in fields:
            setattr(made, field, kept[field])
        made.last_modified = datetime.fromisoformat(kept["last_modified"])
        return made


def _make_message(kept: dict[str, Any]) -> Message:
    message = Message(kept["id"], kept["body"])
    for field in _OF_MESSAGES:
        setattr(message, field, kept[field])
    return message


def _ours(resources: Untyped) -> Iterator[tuple[str, Untyped]]:
    return ((name, resource) for name, resource in resources.items() if name.endswith(f"-{SUFFIX}"))


def _write(path: Path, content: bytes) -> None:
    """Under another name first: a file that bears the name is whole."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)
