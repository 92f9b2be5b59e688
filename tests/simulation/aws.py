"""AWS in memory: what each call answers and changes, as a function of a state. Proved against moto in test_aws.py."""

import functools
import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from . import expressions
from .expressions import Item, Value
from .processes import Answer, Call
from .state import FrozenItem, Message, State, Version

UPDATE_ONCE = "update_item_once"
SWITCH_SECONDS = 1.0  # that a mapping is Enabling or Disabling
VISIBILITY_SECONDS = 800.0  # a multiple of the back-off, so that fewer moments differ
HANDED_OUT = 1  # messages that Lambda has received, and hands out, when the mapping is disabled


@functools.cache
def etag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def serve(state: State, call: Call) -> Answer:
    """Answers a call, and changes the state; for what only reads, the state stays as it is."""
    return _SERVICES[call.service, call.method](state, *call.args)


# S3: an object's versions, the last one is current


def current(state: State, bucket: str, key: str) -> Version | None:
    versions = state.objects.get((bucket, key))
    return versions[-1] if versions and versions[-1].content is not None else None


def put_version(state: State, bucket: str, key: str, version: Version, *, keep: bool = True) -> None:
    before = state.objects.get((bucket, key), ()) if keep else ()
    state.objects = {**state.objects, (bucket, key): (*before, version)}


def _head_object(state: State, bucket: str, key: str) -> Answer:
    found = current(state, bucket, key)
    return Answer((found.etag, found.metadata, found.version_id)) if found else Answer(404, "404")


def _get_object(
    state: State, bucket: str, key: str, if_match: str | None, ranged: bool, version_id: str | None
) -> Answer:
    found = current(state, bucket, key)
    if version_id is not None:
        versions = [version for version in state.objects.get((bucket, key), ()) if version.version_id == version_id]
        if not versions:
            return Answer(404, "NoSuchVersion")
        found = versions[0]
    if not found or found.content is None:
        return Answer(404, "NoSuchKey")
    if if_match is not None and if_match.strip('"') != found.etag.strip('"'):
        return Answer(412, "PreconditionFailed")
    if ranged and not found.content:
        return Answer(416, "InvalidRange")
    return Answer((found.content, found.etag, found.version_id, found.metadata))


def _put_object(
    state: State,
    bucket: str,
    key: str,
    content: bytes,
    metadata: tuple[tuple[str, str], ...],
    if_match: str | None,
    if_none_match: str | None,
) -> Answer:
    found = current(state, bucket, key)
    if if_none_match is not None and found:
        return Answer(412, "PreconditionFailed")
    if if_match is not None:
        if not found:
            return Answer(404, "NoSuchKey")
        if if_match.strip('"') != found.etag.strip('"'):
            return Answer(412, "PreconditionFailed")
    etag = etag_of(content)
    put_version(state, bucket, key, Version("", etag, content, metadata), keep=False)
    return Answer((etag,))


def _nothing(state: State, *args: Any) -> Answer:
    return Answer(())


# DynamoDB: one table, whose key is `id`


def read_item(state: State, id_: str) -> Item:
    return dict(state.items.get(id_, ()))


def freeze(item: Item) -> FrozenItem:
    return tuple(sorted(item.items()))


def _get_item(state: State, id_: str) -> Answer:
    return Answer(state.items.get(id_))


def _update_item(
    state: State,
    id_: str,
    update: str,
    condition: str | None,
    names: tuple[tuple[str, str], ...],
    values: tuple[tuple[str, Value], ...],
    returned: str,
    on_failure: str,
) -> Answer:
    frozen = state.items.get(id_)
    item: Item = dict(frozen or ())
    given = (dict(names), dict(values))
    try:
        expressions.check(update, condition or "", frozenset(given[0]), frozenset(given[1]))
        if condition is not None and not expressions.compile_condition(condition)(item, given):
            return Answer(frozen if on_failure == "ALL_OLD" else None, "ConditionalCheckFailedException")
        made: Item = dict(item)
        for action in expressions.compile_update(update):
            action(item, made, given)
    except (expressions.ValidationError, KeyError) as error:
        return Answer(str(error), "ValidationException")
    made["id"] = ("S", id_)
    state.items = {**state.items, id_: freeze(made)}
    match returned:
        case "ALL_OLD":
            return Answer(frozen)
        case "ALL_NEW":
            return Answer(state.items[id_])
        case "UPDATED_OLD" | "UPDATED_NEW":
            touched = expressions.touched(update)
            source = item if returned == "UPDATED_OLD" else made
            names_ = {given[0].get(name, name) for name in touched}
            return Answer(freeze({name: source[name] for name in names_ if name in source}))
    return Answer(None)


# SQS


def _send_message(
    state: State, queue: str, body: str, delay: float, attributes: tuple[tuple[str, str, str], ...]
) -> Answer:
    message = Message(queue, body, attributes, state.clock, state.clock + delay, 0, "")
    state.messages = tuple(sorted((*state.messages, message)))
    return Answer(())


def receive(state: State, message: Message, holder: str) -> Message:
    """Hand a message out: it is hidden for as long as the queue's visibility timeout."""
    taken = message._replace(receives=message.receives + 1, holder=holder, visible=state.clock + VISIBILITY_SECONDS)
    replace_message(state, message, taken)
    return taken


def replace_message(state: State, message: Message, *others: Message) -> None:
    left = list(state.messages)
    left.remove(message)
    state.messages = tuple(sorted([*left, *others]))


def _change_visibility(state: State, queue: str, holder: str, body: str, seconds: float) -> Answer:
    for message in state.messages:
        if message.holder == holder and message.body == body:
            replace_message(state, message, message._replace(visible=state.clock + seconds))
            return Answer(())
    return Answer(400, "InvalidParameterValue")


# Lambda: one event source mapping


def settle_mapping(state: State) -> None:
    if state.mapping.endswith("ing") and state.clock >= state.mapping_until:
        state.mapping = "Enabled" if state.mapping == "Enabling" else "Disabled"
        state.mapping_until = 0.0


def _get_mapping(state: State) -> Answer:
    return Answer(state.mapping)


def _update_mapping(state: State, enabled: bool) -> Answer:
    if state.mapping.endswith("ing"):
        return Answer(400, "ResourceInUseException")
    if enabled != (state.mapping == "Enabled"):
        state.mapping = "Enabling" if enabled else "Disabling"
        state.mapping_until = state.clock + SWITCH_SECONDS
        state.handed = 0 if enabled else HANDED_OUT
    return Answer(state.mapping)


def decimal_text(number: Decimal) -> str:
    """A number as DynamoDB answers it: without zeros that say nothing."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


_SERVICES: dict[tuple[str, str], Callable[..., Answer]] = {
    ("s3", "head_object"): _head_object,
    ("s3", "get_object"): _get_object,
    ("s3", "put_object"): _put_object,
    ("s3", "head_bucket"): _nothing,
    ("secrets", "get_secret_value"): _nothing,
    ("dynamodb", "get_item"): _get_item,
    ("dynamodb", "update_item"): _update_item,
    ("dynamodb", UPDATE_ONCE): _update_item,
    ("sqs", "send_message"): _send_message,
    ("sqs", "change_visibility"): _change_visibility,
    ("lambda", "get_mapping"): _get_mapping,
    ("lambda", "update_mapping"): _update_mapping,
}
ONCE = {UPDATE_ONCE}  # calls that the SDK does not repeat
READS = {"head_object", "get_object", "head_bucket", "get_secret_value", "get_item", "get_mapping", "credits", "fetch"}
