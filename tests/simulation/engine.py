"""What becomes of a world's state when something happens in it."""

import functools
from typing import Any

from . import aws, outside, promises, service
from .canonical import canonical, has_hours
from .clients import FAILED, LOST
from .options import Options
from .processes import Answer, Call, Tree
from .state import START, FrozenItem, Running, State
from .wiring import DEAD_LETTERS, TIMEOUT_SECONDS
from .world import Choice, World

WATCH_SECONDS = 300.0
JUMP_SECONDS = 200.0  # the first back-off: fewer moments differ
HOUR_SECONDS = 3600.0
OUTLAST: Choice = ("outlast",)  # everything waits until the hours that have begun are over: not a choice like others
TIMEOUTS = {"worker": TIMEOUT_SECONDS, "watch": 60.0}


class Engine:
    def __init__(self, world: World, tree: Tree) -> None:
        self.world = world
        self.tree = tree
        self.options = Options(world)

    def start(self) -> State:
        state = State()
        world = self.world
        state.faults, state.jumps, state.ticks = world.faults, world.jumps, world.ticks
        state.script = (0,) * len(world.actors)
        state.watch_at = state.clock + WATCH_SECONDS if world.watched else 0.0
        for step in world.setup:
            outside.take(world, state, step, lambda kind: self._run(state, kind))
        return state

    def choices(self, state: State) -> list[Choice]:
        return self.options.choices(state)

    def can_outlast(self, state: State) -> bool:
        """Whether an hour can be waited for that is not over: everything else waits already."""
        return not state.running and has_hours(state)

    def at_rest(self, state: State) -> str | None:
        """What is broken where nothing can happen any more."""
        faulted = (state.faults, state.jumps) != (self.world.faults, self.world.jumps)
        # An exhaustive world with a cap notes every such end, and the promises hold after each of them.
        faulted |= state.killed and (self.world.daily is None or not self.world.eager)
        return promises.at_rest(state, self.world.expected, watched=self.world.watched, faulted=faulted)

    def apply(self, state: State, choice: Choice) -> State:
        state = state.copy()
        match choice:
            case ("kill", serial):
                state.faults -= 1
                self._end(state, _running(state, serial), killed=True)
            case ("deliver", *indices):
                self._deliver(state, indices)
            case ("watch",):
                self._run(state, "watch")
            case ("step", actor):
                self._step(state, actor)
            case ("idle",) | ("tick",) | ("outlast",) | ("jump", _):
                self._wait(state, choice)
            case (what, serial, thread, *more):
                self._go(state, what, serial, thread, *more)
        if state.clock + state.elapsed - START > self.world.seconds:
            promises.broken(state, "live: it does not end")
        if self.world.eager and self.world.daily is None and not state.running:
            canonical(state)
        return state

    def _step(self, state: State, actor: int) -> None:
        at = state.script[actor]
        state.script = (*state.script[:actor], at + 1, *state.script[actor + 1 :])
        state.settled = False
        state.idles = 0
        step = self.world.actors[actor][at]
        step = step[1:] if step[0] == "rest" else step
        if step[0] == "replay":
            self._advance(state, state.clock + 1)  # later than its letter was written
        if step[0] == "at":
            self._advance(state, max(state.clock, START + float(step[1])))
            return
        outside.take(self.world, state, step, lambda kind: self._run(state, kind))

    # Time

    def _wait(self, state: State, choice: Choice) -> None:
        match choice:
            case ("idle",):
                state.idles += not self.options.has_no_steps_left(state)
                self._advance(state, min(self.options.timers(state)))
            case ("tick",):
                state.ticks -= 1
                self._advance(state, min(self.options.timers(state)))
            case ("outlast",):
                self._advance(state, _later(state.clock + HOUR_SECONDS))
            case ("jump", "lease"):
                state.jumps -= 1
                self._advance(state, min(self.options.leases(state)) + 1)
                if not state.running:
                    self._advance(state, _later(state.clock))
            case _:
                state.jumps -= 1
                self._advance(state, _later(min(until for _, until, *_ in state.results if until > state.clock)))

    def _advance(self, state: State, clock: float) -> None:
        state.clock = clock
        aws.settle_mapping(state)
        for running in state.running:
            if running.ends <= clock:
                self._end(state, running, killed=True)
                # A jump of an exhaustive world is counted; else it is told only here that one has outlived its timeout.
                state.killed |= not (self.world.eager and self.world.jumps)

    # Calls

    def _go(self, state: State, what: str, serial: str, thread: int, *more: str) -> None:
        state.last = serial
        if self.world.tempo:
            self._advance(state, state.clock + self.world.tempo)
            if all(running.serial != serial for running in state.running):
                return  # its time was over
        running = _running(state, serial)
        if thread == -1:
            self._respond(state, running)
            return
        call = running.node.pending[thread]
        assert call
        if service.kills(self.world, call):
            service.answer(self.world, state, running, call, "kill")
            self._end(state, running, killed=True)
            return
        state.faults -= what != "go"
        running = running._replace(repeated=tuple(other for other in running.repeated if other != thread))
        running, answer = self._answer(state, running, call, what, *more)
        if what == "repeat":
            _replace(state, running._replace(repeated=(*running.repeated, thread)))
            return
        node = running.node.step((thread, answer, state.clock))
        if running.kind == "worker" and not self.world.calm:
            running = promises.on_seen(state, running, thread, call, answer)
            if (following := node.pending[thread]) and following.method == "post":
                promises.on_decision(state, running, thread)
        _replace(state, running._replace(node=node))

    def _answer(self, state: State, running: Running, call: Call, what: str, *more: str) -> tuple[Running, Answer]:
        if call.service == "clock":
            return running, Answer()
        if call.service == "pixelcut":
            return running, service.answer(self.world, state, running, call, more[0] if more else what)
        if what == "failed":
            if promises.is_fault_of_ledger(call):  # what was paid for cannot be written down
                promises.excuse(state, running.serial)
            return running, Answer(None, FAILED)
        running, answer = self._serve(state, running, call)
        return running, Answer(None, LOST) if what == "lost" else answer

    def _serve(self, state: State, running: Running, call: Call) -> tuple[Running, Answer]:
        if call.method == "put_object" and state.blocked == "put":
            return running, Answer(403, "AccessDenied")
        if call.method == "head_object" and state.blocked == "head":
            return running, Answer(503, "SlowDown")
        before = state.items
        replaced = aws.current(state, *call.args[:2]) if call.method == "put_object" else None
        answer = aws.serve(state, call)
        if answer.error == "ValidationException":  # a fault of the code or of this simulation, and never an outage
            promises.broken(state, f"DynamoDB refuses the call: {answer.value}")
        if state.items is not before:
            running = self._on_item(state, running, before, call.args[0])
        elif call.method == "update_mapping":
            state.settled = False
        elif call.method == "put_object" and answer.error is None:
            metadata = dict(call.args[3])
            promises.on_cutout(state, running, metadata["source-key"], metadata["source-etag"], replaced)
        elif call.method == "send_message" and call.args[0] == DEAD_LETTERS:
            promises.on_letter(state, call.args[1], {name: value for name, _, value in call.args[3]})
        return running, answer

    def _on_item(self, state: State, running: Running, before: dict[str, FrozenItem], id_: str) -> Running:
        old, new = before.get(id_, ()), state.items[id_]
        if id_.startswith("cutout:"):
            promises.on_ledger(state, old, new)
            return running
        if self.world.calm:
            if "paused_by" in dict(new):
                promises.broken(state, "limit: the intake is paused in a world that is called calm")
            state.items = before  # what is in it would make a difference for a pause only
            return promises.on_slot(state, running)
        if any(dict(old).get(name) != dict(new).get(name) and name in dict(new) for name in ("next_at", "probe")):
            running = promises.on_slot(state, running)
        promises.on_intake(state, running, old, new)
        if self.world.daily is not None:
            faulted = (state.faults, state.jumps) != (self.world.faults, self.world.jumps)
            workers = sum(other.kind == "worker" for other in state.running)
            promises.on_counts(
                state,
                old,
                new,
                self.world.daily,
                alone=workers == self.world.batch == 1 and not (faulted or state.killed),
            )
        state.settled &= _without_slots(old) == _without_slots(new)
        return running

    # Environments

    def _deliver(self, state: State, indices: list[int]) -> None:
        messages = [state.messages[index] for index in indices]
        if state.mapping != "Enabled":
            state.handed -= 1
        payload = tuple((message.body, message.attributes, message.sent, message.receives + 1) for message in messages)
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
        running = Running(serial, kind, node, state.clock + TIMEOUTS.get(kind, 1e9), etags)
        state.running = tuple(sorted((*state.running, running), key=lambda running: running.serial))
        if kind == "watch":
            state.watch_at = state.clock + WATCH_SECONDS
        return running

    def _respond(self, state: State, running: Running) -> None:
        results = running.node.results or ()
        if running.kind == "worker":
            for result in results:
                if isinstance(result, BaseException):
                    promises.broken(state, f"live: the function crashed: {result!r}")
                    return
            done = {body for body, is_done in results if is_done}
            for message in state.messages:
                if message.holder == running.serial and message.body in done:
                    aws.replace_message(state, message)
        self._end(state, running, killed=False)

    def _end(self, state: State, running: Running, *, killed: bool) -> None:
        """The environment is gone; what it has not done with comes back when its visibility timeout is over."""
        self.tree.drop(running.node)
        if killed:
            promises.on_kill(state, running)
            state.killed |= self.world.daily is not None
        state.messages = tuple(
            sorted(
                message._replace(holder="") if message.holder == running.serial else message
                for message in state.messages
            )
        )
        state.running = tuple(other for other in state.running if other.serial != running.serial)
        if running.kind == "watch" and not killed:
            failed = isinstance((running.node.results or ("",))[0], BaseException)  # the next run tries again
            state.settled = not failed and _has_settled(state)
        if running.kind == "pause" and not killed and state.operator == "pausing":
            state.operator = "paused"


def _has_settled(state: State) -> bool:
    """Whether ReopenIntake would do nothing in any later run."""
    item = dict(state.items.get("intake", ()))
    owner = item.get("paused_by", ("S", ""))[1]
    return state.mapping == ("Disabled" if owner else "Enabled") and owner != "function" and "switching" not in item


def _later(time: float) -> float:
    """A moment after that time, of which there are not too many."""
    return START + (time - START) // JUMP_SECONDS * JUMP_SECONDS + JUMP_SECONDS


def _without_slots(item: FrozenItem) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in item if name != "next_at"]


def _running(state: State, serial: str) -> Running:
    return next(running for running in state.running if running.serial == serial)


def _replace(state: State, running: Running) -> None:
    state.running = tuple(running if other.serial == running.serial else other for other in state.running)


@functools.cache
def _label(body: str) -> str:
    key, etag = promises.letter_of(body)
    return f"{key}@{etag[:2]}"
