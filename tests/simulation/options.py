"""What can happen next in a world, as a list of choices."""

from . import aws, promises
from .processes import Call
from .state import Running, State
from .wiring import DEAD_LETTERS, UPLOAD_QUEUE, repeats_put
from .world import Choice, Step, World

# Sleeps of a worker up to this take no time: it waits for its slot, and the order of slots breaks no promise.
SHORT_SECONDS = 5.0
# What a worker waits for without anybody else having to do with it: nothing else can happen to it, either.
PURE = {"get_secret_value", "head_bucket", "sleep"}
RESPOND = Call("lambda", "respond", ())
BAD_ANSWERS = ("500", "no_url", "odd", "403", "400", "429", "rejected")  # to the paid call: see pixelcut.py


class Options:
    """Choices are tuples:

    go|failed|lost|repeat|gone ENVIRONMENT THREAD, post ENVIRONMENT THREAD ANSWER, kill ENVIRONMENT, deliver MESSAGE...,
    watch, step ACTOR, idle (until something goes on by itself), tick (the same though somebody could go on), and
    jump lease|hour.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_alone = False  # whether the last choices were about a call that concerns nobody else

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
        moves += self._steps(state)
        if idle and self.timers(state) and (not moves or state.idles < world.patience):
            moves.append(("idle",))
        return moves + faults + self._jumps(state) if moves else self._steps(state, at_rest=True)

    def _steps(self, state: State, *, at_rest: bool = False) -> list[Choice]:
        """Of the actors that may go on: any of them, but at rest the first one."""
        ready: list[Choice] = [
            ("step", actor)
            for actor, (at, steps) in enumerate(zip(state.script, self.world.actors, strict=True))
            if at < len(steps) and (steps[at][0] == "rest" if at_rest else self._is_ready(state, steps[at]))
        ]
        return ready[:1] if at_rest else ready

    def _is_ready(self, state: State, step: Step) -> bool:
        match step:
            case ("rest", "at", _):  # at a cap ReopenIntake looks again and again, and nothing comes to a rest
                return not state.running and state.idles >= self.world.patience
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
            return self.has_no_steps_left(state)
        if call.method in PURE or call.service == "pixelcut" or call == RESPOND:
            return True
        if call.service == "sqs":
            return True
        if call.method == "get_object":
            return self.has_no_steps_left(state)
        return self.world.calm and call.service == "dynamodb" and call.args[0] == "intake"

    def has_no_steps_left(self, state: State) -> bool:
        return all(at == len(steps) for at, steps in zip(state.script, self.world.actors, strict=True))

    def _faults(self, state: State, running: Running, thread: int, call: Call) -> list[Choice]:
        if not state.faults or call.method in PURE:
            return []
        kinds = self.world.kinds
        choices: list[Choice] = []
        if call != RESPOND and thread not in running.repeated:
            writes = call.method not in aws.READS
            repeats = call.service != "pixelcut" and call.method not in aws.ONCE
            repeats = repeats and (call.method != "put_object" or repeats_put())
            possible = {"failed": True, "lost": writes, "repeat": writes and repeats, "gone": call.method == "fetch"}
            choices += [(kind, running.serial, thread) for kind, is_so in possible.items() if is_so and kind in kinds]
            if call.method == "post":
                choices += [("post", running.serial, thread, kind) for kind in BAD_ANSWERS if kind in kinds]
        if "kill" in kinds and call.method != "fetch":
            choices.append(("kill", running.serial))
        return choices

    def _deliveries(self, state: State) -> list[Choice]:
        world = self.world
        workers = sum(running.kind == "worker" for running in state.running)
        if workers >= world.workers or not (state.mapping == "Enabled" or state.handed):
            return []
        ready = [
            index
            for index, message in enumerate(state.messages)
            if message.queue == UPLOAD_QUEUE and not message.holder and message.visible <= state.clock
        ]
        if world.batch > 1:
            return [("deliver", *ready[: world.batch])] if ready else []
        # Of two that are equal, either one.
        return [("deliver", at) for at in ready if at == 0 or state.messages[at] != state.messages[at - 1]]

    def _is_watching(self, state: State) -> bool:
        return any(running.kind == "watch" for running in state.running)

    def timers(self, state: State) -> list[float]:
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
            if self.leases(state):
                choices.append(("jump", "lease"))
            if any(until > state.clock for _, until, _, _ in state.results):
                choices.append(("jump", "hour"))
        if state.ticks and state.running:
            timers = self.timers(state)
            if timers and min(timers) < min(running.ends for running in state.running):
                choices.append(("tick",))
        return choices

    def leases(self, state: State) -> list[float]:
        leases = [float(dict(item)["lease"][1]) for item in state.items.values() if "lease" in dict(item)]
        return [lease for lease in leases if lease > state.clock]
