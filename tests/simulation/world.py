"""A world: who acts in it, what can happen next, and what becomes of its state when it does."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import aws, pixelcut, promises
from .aws import serve
from .canonical import canonical
from .clients import FAILED, LOST
from .pixelcut import image
from .processes import Answer, Call, Tree
from .state import START, Message, Running, State, Version
from .wiring import DEAD_LETTERS, INPUT, TIMEOUT_SECONDS, UPLOAD_QUEUE, repeats_put

Choice = tuple[Any, ...]
Step = tuple[str, ...]

WATCH_SECONDS = 300.0
JUMP_SECONDS = 200.0  # the first back-off: fewer moments differ
# Sleeps of a worker up to this take no time: it waits for its slot, and the order of slots breaks no promise.
SHORT_SECONDS = 5.0
# What a worker waits for without anybody else having to do with it: nothing else can happen to it, either.
PURE = {"get_secret_value", "head_bucket", "sleep"}
RESPOND = Call("lambda", "respond", ())


@dataclass(frozen=True)
class World:
    """What happens in it, beside what the code does, and how much may go wrong.

    `setup` is done first. Each of `actors` then takes its steps in order, whenever the scheduler lets it; a step that
    begins with "rest" waits until nothing else goes on. Steps:
        put KEY BYTES [DELIVERIES], delete KEY, rollback KEY, letter KEY (waits for one),
        replay KEY (its letters, or its current version), block CODE, unblock, pause, resume, watch,
        disable (the mapping, by hand)
    """

    name: str
    setup: tuple[Step, ...] = ()
    actors: tuple[tuple[Step, ...], ...] = ()
    faults: int = 2
    jumps: int = 1
    ticks: int = 0
    workers: int = 2  # execution environments at the same time
    batch: int = 1
    versioned: bool = True  # the input bucket
    watched: bool = False  # ReopenIntake runs
    calm: bool = False  # nothing pauses the intake: what is written into its item concerns nobody else
    service: Mapping[str, str] = field(default_factory=dict)  # what the paid call always answers for a key
    expected: Mapping[str, str] = field(default_factory=dict)  # how uploads end without faults, where not as cutouts
    kinds: frozenset[str] = frozenset({"failed", "lost", "repeat", "kill", "gone"})  # of faults
    patience: int = 2  # how often all waits for the clock before the next step of an actor
    seconds: float = 24 * 3600.0  # within which everything ends
    eager: bool = True  # calls that concern nobody else are made at once, and states get their one form
    tempo: float = 0.0  # seconds that each call takes


class Engine:
    def __init__(self, world: World, tree: Tree) -> None:
        self.world = world
        self.tree = tree
        self.is_alone = False  # whether the last choices were about a call that concerns nobody else

    def start(self) -> State:
        state = State()
        world = self.world
        state.faults, state.jumps, state.ticks = world.faults, world.jumps, world.ticks
        state.script = (0,) * len(world.actors)
        state.watch_at = state.clock + WATCH_SECONDS if world.watched else 0.0
        for step in world.setup:
            self._step(state, step)
        return state

    # What can happen next

    def choices(self, state: State) -> list[Choice]:
        """The first one is what happens where nothing is to go wrong: the environment that moved last goes on."""
        world = self.world
        self.is_alone = False
        moves: list[Choice] = []
        faults: list[Choice] = []
        for running in sorted(state.running, key=lambda running: running.serial != state.last):
            for thread, call in self._pending(state, running):
                if world.eager and self._is_eager(state, running, call):
                    self.is_alone = True
                    return [("go", running.serial, thread), *self._faults(state, running, thread, call)]
                moves.append(("go", running.serial, thread))
                faults += self._faults(state, running, thread, call)
        moves += self._deliveries(state)
        if world.watched and state.clock >= state.watch_at and not state.settled and not self._is_watching(state):
            moves.append(("watch",))
        idle = not moves
        for actor, at in enumerate(state.script):
            if at < len(world.actors[actor]) and self._is_ready(state, world.actors[actor][at]):
                moves.append(("step", actor))
        if idle and self._timers(state) and (not moves or state.idles < world.patience):
            moves.append(("idle",))
        if not moves:
            for actor, at in enumerate(state.script):
                if at < len(world.actors[actor]) and world.actors[actor][at][0] == "rest":
                    return [("step", actor)]
        return moves + faults + self._jumps(state) if moves else []

    def _is_ready(self, state: State, step: Step) -> bool:
        match step:
            case ("rest", *_):
                return False
            case ("letter", key):
                return any(m.queue == DEAD_LETTERS and promises.letter_of(m.body)[0] == key for m in state.messages)
        return True

    def _pending(self, state: State, running: Running) -> list[tuple[int, Call]]:
        if running.node.results is not None:
            return [(-1, RESPOND)]
        return [
            (thread, call)
            for thread, call in enumerate(running.node.pending)
            if call is not None and (call.method != "sleep" or self._wakes(running, thread, call) <= state.clock)
        ]

    def _wakes(self, running: Running, thread: int, call: Call) -> float:
        seconds = float(call.args[0])
        return running.node.since[thread] + (0 if running.kind == "worker" and seconds <= SHORT_SECONDS else seconds)

    def _is_eager(self, state: State, running: Running, call: Call) -> bool:
        """Whether it makes no difference to anybody else when the call is made: then it is made at once.

        The paid call and the result belong to one upload, and promises count charges, whatever their order; a message
        that is sent, and the end of an invocation, only add to what may be delivered; an upload is only read, and where
        no actor has a step left nobody writes it; in a calm world the intake's item is only a clock.
        """
        if call.method == "post" and not self.world.versioned:
            return self._has_no_steps_left(state)
        if call.method in PURE or call.service == "pixelcut" or call == RESPOND:
            return True
        if call.service == "sqs":
            return True
        if call.method == "get_object":
            return self._has_no_steps_left(state)
        return self.world.calm and call.service == "dynamodb" and call.args[0] in ("intake", "pace")

    def _has_no_steps_left(self, state: State) -> bool:
        return all(at == len(steps) for at, steps in zip(state.script, self.world.actors, strict=True))

    def _faults(self, state: State, running: Running, thread: int, call: Call) -> list[Choice]:
        if not state.faults or call.method in PURE:
            return []
        kinds = self.world.kinds
        serial = running.serial
        choices: list[Choice] = []
        if call != RESPOND and thread not in running.repeated:
            writes = call.method not in aws.READS
            if "failed" in kinds:
                choices.append(("failed", serial, thread))
            if writes and "lost" in kinds:
                choices.append(("lost", serial, thread))
            repeats = call.service != "pixelcut" and (call.method != "put_object" or repeats_put())
            if writes and repeats and "repeat" in kinds:
                choices.append(("repeat", serial, thread))
            if call.method == "post":
                choices += [
                    ("post", serial, thread, kind)
                    for kind in ("500", "no_url", "403", "400", "429", "rejected")
                    if kind in kinds
                ]
            if call.method == "fetch" and "gone" in kinds:
                choices.append(("gone", serial, thread))
        if "kill" in kinds and call.method != "fetch":
            choices.append(("kill", serial))
        return choices

    def _deliveries(self, state: State) -> list[Choice]:
        world = self.world
        workers = sum(running.kind == "worker" for running in state.running)
        if workers >= world.workers or not (state.mapping == "Enabled" or state.handed):
            return []
        ready = [
            index
            for index, message in enumerate(state.messages)
            if message.queue == UPLOAD_QUEUE
            and not message.holder
            and message.visible <= state.clock
            and (index == 0 or message != state.messages[index - 1])
        ]
        if world.batch == 1:
            return [("deliver", index) for index in ready]
        all_ready = [
            index
            for index, message in enumerate(state.messages)
            if message.queue == UPLOAD_QUEUE and not message.holder and message.visible <= state.clock
        ]
        return [("deliver", *all_ready[: world.batch])] if all_ready else []

    def _is_watching(self, state: State) -> bool:
        return any(running.kind == "watch" for running in state.running)

    def _timers(self, state: State) -> list[float]:
        """When something may go on by itself."""
        timers = [
            self._wakes(running, thread, call)
            for running in state.running
            for thread, call in enumerate(running.node.pending)
            if call is not None and call.method == "sleep"
        ]
        if state.mapping_until:
            timers.append(state.mapping_until)
        if state.mapping in ("Enabled", "Enabling") or state.handed:
            timers += [
                message.visible for message in state.messages if message.queue == UPLOAD_QUEUE and not message.holder
            ]
        if self.world.watched and not state.settled and not self._is_watching(state):
            timers.append(state.watch_at)
        return [timer for timer in timers if timer > state.clock]

    def _jumps(self, state: State) -> list[Choice]:
        choices: list[Choice] = []
        if state.jumps:
            if self._leases(state):
                choices.append(("jump", "lease"))
            if any(until > state.clock for _, until, _, _ in state.results):
                choices.append(("jump", "hour"))
        if state.ticks and state.running:
            timers = self._timers(state)
            if timers and min(timers) < min(running.ends for running in state.running):
                choices.append(("tick",))
        return choices

    def _leases(self, state: State) -> list[float]:
        leases = [float(dict(item)["lease"][1]) for item in state.items.values() if "lease" in dict(item)]
        return [lease for lease in leases if lease > state.clock]

    def at_rest(self, state: State) -> str | None:
        """What is broken where nothing can happen any more."""
        faulted = (state.faults, state.jumps) != (self.world.faults, self.world.jumps)
        return promises.at_rest(state, self.world.expected, watched=self.world.watched, faulted=faulted)

    # What becomes of it

    def apply(self, state: State, choice: Choice) -> State:
        state = state.copy()
        match choice:
            case (("go" | "failed" | "lost" | "repeat" | "gone" | "post") as what, serial, thread, *more):
                self._go(state, what, serial, thread, *more)
            case ("kill", serial):
                self._spend_fault(state)
                self._end(state, _running(state, serial), "killed")
            case ("deliver", *indices):
                self._deliver(state, [state.messages[index] for index in indices])
            case ("watch",):
                self._run(state, "watch")
            case ("step", actor):
                at = state.script[actor]
                state.script = (*state.script[:actor], at + 1, *state.script[actor + 1 :])
                state.settled = False
                state.idles = 0
                step = self.world.actors[actor][at]
                self._step(state, step[1:] if step[0] == "rest" else step)
            case ("idle",):
                state.idles += not self._has_no_steps_left(state)
                self._advance(state, min(self._timers(state)))
            case ("tick",):
                state.ticks -= 1
                self._advance(state, min(self._timers(state)))
            case ("jump", "lease"):
                state.jumps -= 1
                self._advance(state, min(self._leases(state)) + 1)
                if not state.running:
                    self._advance(state, _later(state.clock))
            case ("jump", "hour"):
                state.jumps -= 1
                self._advance(state, _later(min(until for _, until, _, _ in state.results if until > state.clock)))
            case _:
                raise AssertionError(choice)
        if state.clock + state.elapsed - START > self.world.seconds:
            promises.broken(state, "live: it does not end")
        if self.world.eager and not state.running:
            canonical(state)
        return state

    def _spend_fault(self, state: State) -> None:
        state.faults -= 1

    def _advance(self, state: State, clock: float) -> None:
        state.clock = clock
        aws.settle_mapping(state)
        for running in state.running:
            if running.ends <= clock:
                self._end(state, running, "its lease ran out")

    def _go(self, state: State, what: str, serial: str, thread: int, *more: str) -> None:
        state.last = serial
        if self.world.tempo:
            self._advance(state, state.clock + self.world.tempo)
            if all(running.serial != serial for running in state.running):
                return None  # its time was over
        running = _running(state, serial)
        if thread == -1:
            return self._respond(state, running)
        call = running.node.pending[thread]
        assert call
        if call.method == "post" and self._is_killer(call):
            self._pixelcut(state, running, call, "kill")
            return self._end(state, running, "killed")
        if what != "go":
            self._spend_fault(state)
        running = running._replace(repeated=tuple(other for other in running.repeated if other != thread))
        if call.service == "pixelcut":
            running, answer = self._pixelcut(state, running, call, more[0] if more else what)
        elif what == "failed":
            answer = Answer(None, FAILED)
            if promises.is_fault_of_ledger(call) or (call.method == "get_object" and not self.world.versioned):
                promises.excuse(state, serial)
        else:
            running, answer = self._serve(state, running, call)
            if what == "lost":
                answer = Answer(None, LOST)
            if what == "repeat":
                _replace(state, running._replace(repeated=(*running.repeated, thread)))
                return None
        node = running.node.step((thread, answer, state.clock))
        _replace(state, running._replace(node=node))
        return None

    def _is_killer(self, call: Call) -> bool:
        return self.world.service.get(call.args[0].removeprefix(f"https://{INPUT}/").partition("?")[0]) == "kill"

    def _serve(self, state: State, running: Running, call: Call) -> tuple[Running, Answer]:
        if call.service == "clock":
            return running, Answer()
        before = state.items
        if call.method == "put_object" and state.blocked == "put":
            return running, Answer(403, "AccessDenied")
        answer = serve(state, call)
        if self.world.calm and call.args and call.args[0] == "intake" and state.items is not before:
            item = dict(state.items["intake"])
            if "paused_by" in item:
                promises.broken(state, "limit: the intake is paused in a world that is called calm")
            state.items = before  # what is in it would make a difference for a pause only
            return promises.on_slot(state, running), answer
        if state.items is not before:
            id_ = call.args[0]
            old, new = before.get(id_, ()), state.items[id_]
            if id_.startswith("cutout:"):
                promises.on_ledger(state, running, old, new, versioned=self.world.versioned)
            else:
                if any(
                    dict(old).get(name) != dict(new).get(name) and name in dict(new) for name in ("next_at", "probe")
                ):
                    running = promises.on_slot(state, running)
                if id_ == "intake":
                    promises.on_intake(state, running, old, new)
                    state.settled &= _without_slots(old) == _without_slots(new)
        elif call.method == "update_mapping":
            state.settled = False
        elif call.method == "put_object" and answer.error is None:
            metadata = dict(call.args[3])
            promises.on_cutout(state, metadata["source-key"], metadata["source-etag"])
        elif call.method == "send_message" and call.args[0] == DEAD_LETTERS:
            promises.on_letter(state, {name: value for name, _, value in call.args[3]})
        return running, answer

    def _pixelcut(self, state: State, running: Running, call: Call, what: str) -> tuple[Running, Answer]:
        if call.method == "credits":
            return running, Answer(
                None, "failed"
            ) if what == "failed" or state.blocked == "down" else pixelcut.read_credits(state)
        if call.method == "fetch":
            url = call.args[0]
            if what == "failed":
                return running, Answer(None, "failed")
            key = url.split("/")[3]
            if what == "gone" or self.world.service.get(key) == "gone":
                pixelcut.spoil(state, url, "gone")
                promises.excuse_result(state, url)
            return running, pixelcut.fetch(state, url)
        key, _, version_id = call.args[0].removeprefix(f"https://{INPUT}/").partition("?")
        outcome = what if what != "go" else self.world.service.get(key, "ok")
        if state.blocked and outcome == "ok":
            outcome = {"down": "failed", "put": "ok"}.get(state.blocked, state.blocked)
        promises.on_post(state, running)
        versions = state.objects[INPUT, key]
        version = versions[-1] if versions else Version("", "", None)
        if version_id:
            version = next((found for found in versions if found.version_id == version_id), Version("", "", None))
        if version.content is None:  # the service cannot fetch it
            promises.on_post(state, running)
            return running, Answer(None, "400")
        # Without versions, the service may get another upload than the one that is paid for.
        etag = version.etag.strip('"') if version_id else next(iter(running.etags))
        if outcome in ("ok", "gone") or pixelcut.OUTCOMES.get(outcome):
            number = promises.on_charge(state, running, key, etag, flying=outcome in ("ok", "gone"))
            url = promises.result_url(key, etag, number)
            if outcome in ("ok", "gone"):
                pixelcut.add_result(state, url, version.content or b"")
                return running, Answer(url)
        return running, Answer(None, outcome)

    def _respond(self, state: State, running: Running) -> None:
        results = running.node.results or ()
        if running.kind == "worker":
            for result in results:
                if isinstance(result, BaseException):
                    promises.broken(state, f"live: the function crashed: {result!r}")
            held = [message for message in state.messages if message.holder == running.serial]
            done = {body for body, is_done in results if is_done}
            for message in held:
                if message.body in done:
                    aws.replace_message(state, message)
        self._end(state, running, "")

    def _end(self, state: State, running: Running, why: str) -> None:
        """The environment is gone; what it has not done with comes back when its visibility timeout is over."""
        self.tree.drop(running.node)
        if why:
            promises.excuse(state, running.serial)
        state.messages = tuple(
            sorted(
                message._replace(holder="") if message.holder == running.serial else message
                for message in state.messages
            )
        )
        state.running = tuple(other for other in state.running if other.serial != running.serial)
        if running.kind == "watch" and not why:
            result = (running.node.results or ("",))[0]
            if isinstance(result, BaseException):
                why = "failed"  # it is tried again at the next run
            state.settled = not why and self._has_settled(state)
        if running.kind == "pause" and not why and state.operator == "pausing":
            state.operator = "paused"

    def _has_settled(self, state: State) -> bool:
        """Whether ReopenIntake would do nothing in any later run."""
        item = dict(state.items.get("intake", ()))
        owner = item.get("paused_by", ("S", ""))[1]
        return state.mapping == ("Disabled" if owner else "Enabled") and owner != "function" and "switching" not in item

    def _deliver(self, state: State, messages: list[Message]) -> None:
        if state.mapping != "Enabled":
            state.handed -= 1
        payload = tuple((message.body, message.attributes, message.sent, message.count + 1) for message in messages)
        running = self._run(state, "worker", payload)
        for message in messages:
            aws.receive(state, message, running.serial)

    def _run(self, state: State, kind: str, payload: tuple[Any, ...] = ()) -> Running:
        label = "+".join(_label(body) for body, *_ in payload) or kind
        number = dict(state.starts).get(label, 0) + 1
        serial = f"{label} {number}"
        state.starts = tuple(sorted((dict(state.starts) | {label: number}).items()))
        state.last = serial
        node = self.tree.root(kind, serial).step(("invoke", state.clock, payload))
        etags = frozenset(promises.letter_of(body)[1] for body, *_ in payload)
        seconds = {"worker": TIMEOUT_SECONDS, "watch": 60.0}.get(kind, 1e9)
        running = Running(serial, kind, node, state.clock + seconds, etags)
        state.running = tuple(sorted((*state.running, running), key=lambda running: running.serial))
        if kind == "watch":
            state.watch_at = state.clock + WATCH_SECONDS
        return running

    def _step(self, state: State, step: Step) -> None:
        match step:
            case ("put", key, name, *deliveries):
                content = image(name)
                version = self._new_version(state, key)
                aws.put_version(state, INPUT, key, Version(version, aws.etag_of(content), content))
                promises.on_owner(state, key, versioned=self.world.versioned)
                self._send_event(state, key, int(deliveries[0]) if deliveries else 1)
            case ("delete", key):
                version = self._new_version(state, key)
                aws.put_version(state, INPUT, key, Version(version, "", None))
                promises.on_owner(state, key, versioned=self.world.versioned)
            case ("rollback", key):
                state.objects = {**state.objects, (INPUT, key): state.objects[INPUT, key][:-1]}
                promises.on_owner(state, key, versioned=self.world.versioned)
            case ("replay", key):
                self._advance(state, state.clock + 1)  # later than its letter was written
                self._replay(state, key)
            case ("letter", _):
                pass  # it waited for the letter
            case ("block", code):
                state.blocked = code
            case ("unblock",):
                state.blocked = ""
            case ("disable",):
                state.operator = "by hand"
                if not state.mapping.endswith("ing"):
                    serve(state, Call("lambda", "update_mapping", (False,)))
            case ("watch",):
                self._run(state, "watch")
            case (("pause" | "resume") as kind,):
                state.operator = "pausing" if kind == "pause" else "resuming"
                self._run(state, kind)
            case _:
                raise AssertionError(step)

    def _new_version(self, state: State, key: str) -> str:
        number = dict(state.puts).get(key, 0) + 1
        state.puts = tuple(sorted((dict(state.puts) | {key: number}).items()))
        return f"v{number}" if self.world.versioned else str(number)

    def _send_event(self, state: State, key: str, deliveries: int) -> None:
        found = aws.current(state, INPUT, key)
        assert found
        body = _event(key, found.etag.strip('"'), found.version_id)
        for _ in range(deliveries):
            serve(state, Call("sqs", "send_message", (UPLOAD_QUEUE, body, 0.0, ())))

    def _replay(self, state: State, key: str) -> None:
        """An operator sends the letters of a key back, and the event of what stands there now where it has none."""
        letters = [
            letter
            for letter in state.messages
            if letter.queue == DEAD_LETTERS and promises.letter_of(letter.body)[0] == key
        ]
        etags = [promises.letter_of(letter.body)[1] for letter in letters]
        for letter in letters:
            aws.replace_message(state, letter)
            serve(state, Call("sqs", "send_message", (UPLOAD_QUEUE, letter.body, 0.0, ())))
        for etag in set(etags):
            promises.on_replay(state, key, etag, etags.count(etag))
        if aws.current(state, INPUT, key) and promises.current_etag(state, key) not in etags:
            promises.on_replay(state, key, promises.current_etag(state, key), 1)
            self._send_event(state, key, 1)


def _later(time: float) -> float:
    """A moment after that time, of which there are not too many."""
    return START + (time - START) // JUMP_SECONDS * JUMP_SECONDS + JUMP_SECONDS


def _without_slots(item: tuple[tuple[str, Any], ...]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in item if name != "next_at"]


def _running(state: State, serial: str) -> Running:
    return next(running for running in state.running if running.serial == serial)


def _replace(state: State, running: Running) -> None:
    state.running = tuple(running if other.serial == running.serial else other for other in state.running)


@functools.cache
def _label(body: str) -> str:
    key, etag = promises.letter_of(body)
    return f"{key}@{etag[:2]}"


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
