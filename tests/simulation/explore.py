"""All histories of a small world, depth first, no state walked twice."""

import time
from dataclasses import dataclass

from .engine import Engine
from .processes import Tree
from .state import State
from .wiring import build
from .world import Choice, World

MOST_STATES = 5_000_000
MOST_DEPTH = 2_000
MOST_SECONDS = 1_800.0


Place = tuple[int, tuple[int, int, int]]  # a state's hash, and the faults and jumps that are left


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


def explore(
    world: World, *, most_states: int = MOST_STATES, most_seconds: float = MOST_SECONDS, most_depth: int = MOST_DEPTH
) -> Found:
    began = time.monotonic()
    tree = Tree(build)
    engine = Engine(world, tree)
    found = Found(world)
    seen: dict[int, list[tuple[int, int, int]]] = {}
    on_path: set[Place] = set()

    def is_new(key: int, budget: tuple[int, int, int]) -> bool:
        """Whether it was not walked yet with as many faults and jumps left."""
        walked = seen.get(key)
        if walked is None:
            seen[key] = [budget]
            return True
        for faults, jumps, ticks in walked:
            if faults >= budget[0] and jumps >= budget[1] and ticks >= budget[2]:
                return False
        walked.append(budget)
        return True

    def place(state: State) -> Place:
        return hash(state.key()), (state.faults, state.jumps, state.ticks)

    start = engine.start()
    stack: list[tuple[State, list[Choice], int, Place | None]] = [(start, engine.choices(start), 0, None)]
    path: list[Choice] = []
    while stack:
        state, choices, at, here = stack[-1]
        if at >= len(choices):
            stack.pop()
            if here is not None:
                on_path.discard(here)
            if path:
                path.pop()
            continue
        stack[-1] = (state, choices, at + 1, here)
        choice = choices[at]
        found.edges += 1
        after = engine.apply(state, choice)
        path.append(choice)
        following = engine.choices(after) if after.violation is None else []
        there = None if engine.options.is_alone else place(after)
        if after.violation is None and there in on_path:
            after.violation = "live: it goes round in circles"
        if after.violation is None and (there is None or is_new(*there)):
            found.states += 1
            found.depth = max(found.depth, len(path))
            if not following:
                found.ends += 1
                after.violation = engine.at_rest(after)
            if after.violation is None:
                after.violation = _limit(found, began, most_states, most_seconds, most_depth, len(path))
            if after.violation is None:
                stack.append((after, following, 0, there))
                if there is not None:
                    on_path.add(there)
                continue
        if after.violation is not None:
            found.violation, found.history = after.violation, tuple(path)
            break
        path.pop()
    found.seconds = time.monotonic() - began
    found.environments = tree.nodes
    tree.close()
    return found


def _limit(found: Found, began: float, states: int, seconds: float, most_depth: int, depth: int) -> str | None:
    if found.states >= states:
        return f"limit: {states} states"
    if depth >= most_depth:
        return f"limit: {most_depth} steps"
    if found.states % 256 == 0 and time.monotonic() - began > seconds:
        return f"limit: {seconds:.0f} seconds"
    return None
