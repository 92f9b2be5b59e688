"""`make prove`: every world, the random seeds and the mutations, and the report of what was walked."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import fuzz, history, mutations, wiring
from .explore import Found, explore
from .mutations import MUTATIONS, is_limit
from .worlds import BY_NAME, WORLDS

REPORT = Path(__file__).parent / "REPORT.md"
SEEDS = 100_000
CHUNK = 1_000  # seeds of one task
MUTATION_SECONDS = 900.0  # of the clock: on a slow machine that has other work, the longest search took more than 300


def walk(name: str) -> Found:
    with wiring.simulated():
        return explore(BY_NAME[name])


def mutate(name: str) -> tuple[Found, int]:
    return mutations.find(next(mutation for mutation in MUTATIONS if mutation.name == name), MUTATION_SECONDS)


def draw(first: int, last: int) -> tuple[int, int, list[tuple[int, str]]]:
    """How many seeds and steps there were, and the seeds that broke a promise."""
    steps = 0
    broken = []
    with wiring.simulated():
        for seed in range(first, last):
            violation, walked = fuzz.run_seed(seed)
            steps += len(walked)
            if violation:
                broken.append((seed, violation))
    return last - first, steps, broken


def tell(found: Found) -> Iterator[str]:
    """A failing history: shrunk where it is not too long, as a table, and with the token that replays it."""
    with wiring.simulated():
        world, walked = found.world, list(found.history)
        if found.violation and not found.violation.startswith("limit"):
            walked = fuzz.shrink(world, walked, found.violation, most_runs=300)
        violation, rows = history.replay(world, walked)
    yield f"{world.name}: {found.violation}"
    yield from history.table(rows)
    yield f"again: python -m tests.simulation replay {fuzz.token_of(world, walked)}"
    if violation is None:
        yield "Replayed, it breaks no promise: the way there was through states that count as one."


def tell_seed(seed: int) -> Iterator[str]:
    with wiring.simulated():
        violation, walked = fuzz.run_seed(seed)
    yield from tell(Found(fuzz.make_world(seed), violation=violation, history=tuple(walked)))


def prove(seeds: int, first: int = 1) -> int:
    """Writes REPORT.md; returns an exit code."""
    began = time.monotonic()
    tasks: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        *(("world", walk, (world.name,)) for world in WORLDS),
        *(("mutation", mutate, (mutation.name,)) for mutation in MUTATIONS),
        *(("seeds", draw, (at, min(at + CHUNK, first + seeds))) for at in range(first, first + seeds, CHUNK)),
    ]
    results: dict[tuple[str, Any], Any] = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        futures = {threads.submit(_alone, work, arguments): (kind, arguments[0]) for kind, work, arguments in tasks}
        for future in as_completed(futures):
            kind, name = futures[future]
            results[kind, name] = result = future.result()
            if kind == "world":
                print(
                    f"{name}: {result.states:,} states, {result.seconds:.0f} s: {result.violation or 'kept'}",
                    flush=True,
                )
            elif kind == "mutation":
                print(f"mutation: {name}: {result[0].violation}", flush=True)
            elif result[2]:
                print(f"seeds from {name}: {result[2]}", flush=True)
    walked = [results["world", world.name] for world in WORLDS]
    mutated = [(mutation, *results["mutation", mutation.name]) for mutation in MUTATIONS]
    drawn = [result for (kind, _), result in results.items() if kind == "seeds"]
    minutes = (time.monotonic() - began) / 60
    REPORT.write_text("\n".join(_report(walked, mutated, drawn, first, minutes)) + "\n", encoding="utf-8")
    return _tell_failures(walked, mutated, [broken for _, _, some in drawn for broken in some])


def _alone(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In a process of its own, so that one that is ended from outside costs no more than its own work, once again."""
    try:
        return _in_process(work, arguments)
    except BrokenProcessPool:
        return _in_process(work, arguments)


def _in_process(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _tell_failures(walked: Iterable[Found], mutated: Iterable[Any], broken: Sequence[tuple[int, str]]) -> int:
    code = 0
    for found in walked:
        if found.violation:
            code = 1
            print("\n".join(tell(found)))
    for mutation, found, _ in mutated:
        if not found.violation or is_limit(found.violation, MUTATION_SECONDS):
            code = 1
            print(f"not found: {mutation.name}")
    for seed, _ in broken[:3]:
        code = 1
        print("\n".join(tell_seed(seed)))
    return code


def _report(
    walked: Sequence[Found],
    mutated: Sequence[tuple[mutations.Mutation, Found, int]],
    drawn: Sequence[tuple[int, int, list[tuple[int, str]]]],
    first: int,
    minutes: float,
) -> Iterator[str]:
    seeds, steps = sum(result[0] for result in drawn), sum(result[1] for result in drawn)
    broken = [seed for _, _, some in drawn for seed, _ in some]
    yield "# Every history: what `make prove` has walked\n"
    yield (
        f"Written by `make prove` ({_commit()}), in {minutes:.0f} minutes with {os.cpu_count()} processes. "
        "README.md in this folder says what is simulated.\n"
    )
    yield "## Small worlds, exhaustively\n"
    yield (
        "Each state is walked once for the faults and jumps that are left. A limit that is hit counts as a failure. "
        "Environments: states of one execution environment for which the code was really run.\n"
    )
    yield "| world | faults | jumps | states | edges | depth | ends | environments | seconds | promises |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for found in walked:
        world = found.world
        yield (
            f"| {world.name} | {world.faults} | {world.jumps} | {found.states:,} | {found.edges:,} | {found.depth:,} "
            f"| {found.ends:,} | {found.environments:,} | {found.seconds:,.0f} | {found.violation or 'kept'} |"
        )
    total = sum(found.states for found in walked)
    yield f"\nTogether {total:,} states and {sum(found.edges for found in walked):,} edges.\n"
    yield "## Random worlds\n"
    yield (
        f"Seeds {first} to {first + seeds - 1}: {steps:,} steps, {steps / max(1, seeds):.0f} a history; "
        f"{len(broken)} broke a promise{': ' + ', '.join(map(str, broken[:20])) if broken else ''}.\n"
    )
    found_all = [row for row in mutated if row[1].violation and not is_limit(row[1].violation, MUTATION_SECONDS)]
    yield f"## Mutations: {len(found_all)} of {len(mutated)} found\n"
    yield "| mutation | world that found it | faults | jumps | states until then | what was broken |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for mutation, found, states in mutated:
        hit = found.violation and not is_limit(found.violation, MUTATION_SECONDS)
        where = f"{found.world.name} | {found.world.faults} | {found.world.jumps}" if hit else "**none** | |"
        yield f"| {mutation.name} | {where} | {states:,} | {found.violation if hit else ''} |"


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "no commit"
