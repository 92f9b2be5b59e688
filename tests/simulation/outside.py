"""What others do in a world: owners of uploads, operators, and a service in trouble."""

import functools
import json
from collections.abc import Callable
from decimal import Decimal

from . import aws, promises
from .pixelcut import image
from .processes import Call
from .state import DAY_SECONDS, MIDNIGHT, State, Version
from .wiring import DEAD_LETTERS, INPUT, OUTPUT, UPLOAD_QUEUE
from .world import Step, World

FOREIGN = b"somebody else's"


def take(world: World, state: State, step: Step, start: Callable[[str], object]) -> None:
    """`start` begins what runs: ReopenIntake, or an operator's command."""
    kind, *arguments = step
    match kind:
        case "put" | "delete" | "rollback":
            _change_upload(world, state, step)
        case "replay":
            _replay(state, *arguments)
        case "occupy":
            place = OUTPUT, promises.output_key(arguments[0])
            aws.put_version(state, *place, Version("", aws.etag_of(FOREIGN), FOREIGN), keep=False)
        case "backlog" | "reopened" | "counted":
            _set_intake(state, step)
        case "block":
            (state.blocked,) = arguments
        case "unblock":
            state.blocked = ""
        case "disable":
            state.operator = "by hand"
            if not state.mapping.endswith("ing"):
                aws.serve(state, Call("lambda", "update_mapping", (False,)))
        case "watch" | "pause" | "resume" | "allow":
            state.operator = {"pause": "pausing", "resume": "resuming"}.get(kind, state.operator)
            state.granted += sum(map(int, arguments))
            start(" ".join(step))
        case _:
            assert kind == "letter", step  # which it has waited for


def _set_intake(state: State, step: Step) -> None:
    seconds = int(step[1]) if len(step) > 1 else 0
    attributes: dict[str, dict[str, float]] = {
        "backlog": {"next_at": state.clock + seconds},
        "reopened": {"reopened_at": state.clock},
        "counted": {
            "day_ends": MIDNIGHT,
            "day_credits": 0,
            "month_ends": MIDNIGHT + 9 * DAY_SECONDS,
            "month_credits": 0,
        },
    }
    new = {name: ("N", Decimal(str(number))) for name, number in attributes[step[0]].items()}
    item = dict(state.items.get("intake", ())) | {"id": ("S", "intake")} | new
    state.items = {**state.items, "intake": tuple(sorted(item.items()))}


def _change_upload(world: World, state: State, step: Step) -> None:
    kind, key, *more = step
    if kind == "rollback":
        state.objects = {**state.objects, (INPUT, key): state.objects[INPUT, key][:-1]}
    else:
        number = dict(state.puts).get(key, 0) + 1
        state.puts = tuple(sorted((dict(state.puts) | {key: number}).items()))
        content = image(more[0]) if kind == "put" else None
        etag = aws.etag_of(content) if content else ""
        version_id = f"v{number}" if world.versioned else str(number)
        aws.put_version(state, INPUT, key, Version(version_id, etag, content))
    promises.on_owner(state, key, versioned=world.versioned)
    if kind == "put":
        _send_event(state, key, int(more[1]) if len(more) > 1 else 1)


def _send_event(state: State, key: str, deliveries: int) -> None:
    found = aws.current(state, INPUT, key)
    assert found
    body = _event(key, found.etag.strip('"'), found.version_id)
    for _ in range(deliveries):
        aws.serve(state, Call("sqs", "send_message", (UPLOAD_QUEUE, body, 0.0, ())))


def _replay(state: State, key: str, deliveries: str = "1") -> None:
    """An operator sends the letters of a key back, and the event of what stands there now where it has none."""
    letters = [
        letter
        for letter in state.messages
        if letter.queue == DEAD_LETTERS and promises.letter_of(letter.body)[0] == key
    ]
    etags = [promises.letter_of(letter.body)[1] for letter in letters]
    for letter in letters:
        aws.replace_message(state, letter)
        for _ in range(int(deliveries)):
            aws.serve(state, Call("sqs", "send_message", (UPLOAD_QUEUE, letter.body, 0.0, ())))
    if aws.current(state, INPUT, key) and promises.current_etag(state, key) not in etags:
        _send_event(state, key, 1)
        etags.append(promises.current_etag(state, key))
    for etag in set(etags):
        promises.on_replay(state, key, etag, etags.count(etag))


@functools.cache
def _event(key: str, etag: str, version_id: str) -> str:
    """An S3 notification; `sequencer` is the higher the later the version."""
    object_ = {"key": key, "eTag": etag, "size": 1000, "sequencer": f"{int(version_id.strip('v')):016X}"}
    if version_id.startswith("v"):
        object_["versionId"] = version_id
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": INPUT}, "object": object_},
    }
    return json.dumps({"Records": [record]})
