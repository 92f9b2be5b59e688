"""Random histories of random worlds: a seed makes both; one that fails is shrunk, and told as a table."""

import base64
import dataclasses
import json
import random
import zlib
from collections.abc import Callable, Iterable, Sequence

from .canonical import has_hours
from .engine import OUTLAST, Engine
from .processes import Tree
from .state import DAY_SECONDS, State
from .wiring import builder
from .world import Choice, Step, World
from .worlds import BY_NAME

MOST_STEPS = 6_000
_FAULTS = {"failed", "lost", "repeat", "gone", "post", "kill", "jump", "tick"}
KINDS = frozenset({"failed", "lost", "repeat", "kill", "gone", "500", "odd", "403", "400", "429", "rejected"})


def make_world(seed: int) -> World:
    """Keys, versions, batches, environments, operators and outages, as the seed has it."""
    rng = random.Random(seed)
    keys = [f"{name}.{extension}" for name, extension in zip("abcd", ("jpg",) * 4, strict=True)][: rng.randint(1, 4)]
    if rng.random() < 0.2:
        keys.append("a.gif")  # of the same output key as a.jpg
    versioned = rng.random() < 0.85
    owners: list[tuple[Step, ...]] = []
    for key in keys:
        steps: list[Step] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            what = rng.random()
            if steps and what < 0.15:
                steps.append(("delete", key))
            elif steps and versioned and what < 0.3:
                steps += [("rollback", key), ("replay", key)]
            else:
                steps.append(("put", key, rng.choice("AB"), str(rng.choice((1, 1, 2, 3)))))
        owners.append(tuple(steps))
    others: list[tuple[Step, ...]] = []
    if rng.random() < 0.5:
        others.append((("block", rng.choice(("credits", "down", "500", "put", "head"))), ("unblock",)))
    if rng.random() < 0.4:
        others.append((("pause",), rng.choice((("resume",), ("rest", "resume")))))
    if rng.random() < 0.2:
        others.append((("disable",), ("rest", "resume")))
    service = {key: rng.choice(("gone", "500", "odd", "403", "400", "kill")) for key in keys if rng.random() < 0.12}
    daily = rng.choice((3, 6)) if rng.random() < 0.25 else None
    if daily:
        others += _days(rng)
    return World(
        f"seed {seed}",
        actors=(*owners, *others),
        daily=daily,
        faults=rng.choice((0, 1, 2, 3, 5)),
        jumps=rng.choice((0, 1, 2)),
        ticks=rng.choice((0, 3, 10)),
        workers=rng.randint(1, 4),
        batch=rng.choice((1, 1, 2, 3)),
        watched=True,
        service=service,
        expected=dict.fromkeys(keys, "any"),
        kinds=KINDS,
        patience=3,
        seconds=14 * 24 * 3600.0,
        eager=False,
        tempo=rng.choice((0.0, 0.05, 1.0, 4.0)),
        versioned=versioned,
    )


def _days(rng: random.Random) -> list[tuple[Step, ...]]:
    """Ten days, and what an operator allows beyond the cap of the first of them."""
    later = [("rest", "at", str(31 + number * DAY_SECONDS)) for number in range(1, 10)]
    days: list[tuple[Step, ...]] = [(("at", "31"), ("rest", "at", "3700"), *later)]
    return [*days, (("allow", "2"), ("allow", "1"))] if rng.random() < 0.5 else days


def run(world: World, choose: Callable[[State, list[Choice]], Choice]) -> tuple[str | None, list[Choice]]:
    """One history: what is broken, and what was chosen."""
    tree = Tree(builder(world), remember=False)
    engine = Engine(world, tree)
    state = engine.start()
    history: list[Choice] = []
    try:
        while state.violation is None:
            choices = engine.choices(state)
            if not choices:
                return engine.at_rest(state), history
            if len(history) >= MOST_STEPS:
                return f"live: it does not end within {MOST_STEPS} steps", history
            choice = choose(state, choices)
            history.append(choice)
            state = engine.apply(state, choice)
        return state.violation, history
    finally:
        tree.close()


def run_seed(seed: int) -> tuple[str | None, list[Choice]]:
    rng = random.Random(seed ^ 0x5EED)
    likely = rng.choice((0.01, 0.05, 0.15))
    eager = rng.choice((0.2, 0.5, 0.8))  # how likely the environment that moved last goes on

    def choose(state: State, choices: list[Choice]) -> Choice:
        moves = [choice for choice in choices if choice[0] not in _FAULTS]
        bad = [choice for choice in choices if choice[0] in _FAULTS]
        if bad and (not moves or rng.random() < likely):
            return rng.choice(bad)
        return moves[0] if rng.random() < eager else rng.choice(moves)

    return run(make_world(seed), choose)


def follow(world: World, history: Iterable[Choice]) -> tuple[str | None, list[Choice]]:
    """The history, as far as it is possible, and then what happens where nothing goes wrong."""
    left = iter(history)

    def choose(state: State, choices: list[Choice]) -> Choice:
        for choice in left:
            if choice in choices or (choice == OUTLAST and not state.running and has_hours(state)):
                return choice
        return choices[0]

    return run(world, choose)


def shrink(world: World, history: Sequence[Choice], broken: str, most_runs: int = 1_500) -> list[Choice]:
    """A shorter history that breaks the same promise: chunks are left out, then single choices."""
    promise = broken.partition(":")[0]
    best = list(history)
    size, runs = max(1, len(best) // 2), 0
    while size and runs < most_runs:
        at, smaller = 0, False
        while at < len(best) and runs < most_runs:
            runs += 1
            violation, walked = follow(world, best[:at] + best[at + size :])
            if violation and violation.startswith(promise) and len(walked) < len(best):
                best, smaller = walked, True
            else:
                at += size
        size = size if smaller and size == 1 else size // 2
    return best


def token_of(world: World, history: Sequence[Choice]) -> str:
    name = world.name if world.name in BY_NAME else int(world.name.removeprefix("seed "))
    changed: dict[str, int] = {}
    if world.name in BY_NAME:
        changed = {field: getattr(world, field) for field in ("faults", "jumps", "ticks", "workers")}
    text = json.dumps([name, changed, history], separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()


def read_token(token: str) -> tuple[World, list[Choice]]:
    name, changed, history = json.loads(zlib.decompress(base64.urlsafe_b64decode(token)))
    world = make_world(name) if isinstance(name, int) else dataclasses.replace(BY_NAME[name], **changed)
    return world, [tuple(choice) for choice in history]
