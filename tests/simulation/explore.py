"""Walks all histories of a small world, depth first, without visiting a state twice."""

import time
from dataclasses import dataclass

from .engine import OUTLAST, Engine
from .processes import Tree
from .state import State
from .wiring import builder
from .world import Choice, World

MOST_STATES = 30_000_000
MOST_DEPTH = 2_000
MOST_SECONDS = 3_600.0

Budget = tuple[int, int, int]  # the faults, jumps and ticks that are left
Place = tuple[int, Budget]  # a state's hash, and its budget


@dataclass
class Found:
    """What was walked; `violation` is None where every history keeps the promises. A limit that is hit violates."""

    world: World
    states: int = 0
    edges: int = 0
    depth: int = 0
    ends: int = 0
    seconds: float = 0.0
    environments: int = 0
    violation: str | None = None
    history: tuple[Choice, ...] = ()


@dataclass
class _Stage:
    """A state on the way, and how many of its choices were taken; `place` is None where it is not compared."""

    state: State
    choices: list[Choice]
    place: Place | None
    taken: int = 0


def explore(
    world: World, *, most_states: int = MOST_STATES, most_seconds: float = MOST_SECONDS, most_depth: int = MOST_DEPTH
) -> Found:
    search = _Search(world, most_states, most_seconds, most_depth)
    search.run()
    return search.found


class _Search:
    def __init__(self, world: World, most_states: int, most_seconds: float, most_depth: int) -> None:
        self.found = Found(world)
        self._limits = most_states, most_seconds, most_depth
        self._tree = Tree(builder(world))
        self._engine = Engine(world, self._tree)
        self._walked: dict[int, list[Budget]] = {}
        self._on_path: set[Place] = set()
        self._began = time.monotonic()

    def run(self) -> None:
        found, engine = self.found, self._engine
        start = engine.start()
        way = [_Stage(start, engine.choices(start), None)]
        while way and found.violation is None:
            stage = way[-1]
            if stage.taken == len(stage.choices):
                way.pop()
                if stage.place is not None:
                    self._on_path.discard(stage.place)
                continue
            choice = stage.choices[stage.taken]
            stage.taken += 1
            found.edges += 1
            after = engine.apply(stage.state, choice)
            if following := self._enter(after, len(way)):
                way.append(following)
            if after.violation is not None:
                found.violation = after.violation
                found.history = tuple(stage.choices[stage.taken - 1] for stage in way if stage.taken)
        found.seconds = time.monotonic() - self._began
        found.environments = self._tree.nodes
        self._tree.close()

    def _enter(self, state: State, depth: int) -> _Stage | None:
        """A state that was not walked yet; `violation` is set where it breaks a promise, or a limit is hit."""
        if state.violation is not None:
            return None
        choices = self._engine.choices(state)
        place = None
        # After a call that concerns nobody else there is one way on: it is not worth comparing.
        if not self._engine.options.is_alone:
            place = hash(state.key()), (state.faults, state.jumps, state.ticks)
            if place in self._on_path:
                # What waits for an hour to be over comes back to the state that it was in: see canonical.py.
                if self._engine.can_outlast(state):
                    return _Stage(state, [OUTLAST], None)
                state.violation = "live: it goes round in circles"
                return None
            if not self._is_new(*place):
                return None
            self._on_path.add(place)
        found = self.found
        found.states += 1
        found.depth = max(found.depth, depth)
        if not choices:
            found.ends += 1
            state.violation = self._engine.at_rest(state)
        state.violation = state.violation or self._limit(depth)
        return _Stage(state, choices, place)

    def _is_new(self, key: int, budget: Budget) -> bool:
        """Whether it was not walked yet with as many faults and jumps left."""
        walked = self._walked.get(key)
        if walked is None:
            self._walked[key] = [budget]
            return True
        if any(all(had >= has for had, has in zip(before, budget, strict=True)) for before in walked):
            return False
        walked.append(budget)
        return True

    def _limit(self, depth: int) -> str | None:
        states, seconds, most_depth = self._limits
        if self.found.states >= states:
            return f"limit: {states} states"
        if depth >= most_depth:
            return f"limit: {most_depth} steps"
        if self.found.states % 256 == 0 and time.monotonic() - self._began > seconds:
            return f"limit: {seconds:.0f} seconds"
        return None
