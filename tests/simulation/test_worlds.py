"""The smallest worlds, some seeds and some mutations in every test run; `make prove` walks the rest."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from . import fuzz, mutations, prove, wiring
from .explore import explore
from .worlds import BY_NAME, WORLDS

# Faults and jumps of the clock for each world here, so that all of them take about a minute.
BUDGETS = {mutations.ONE: (1, 0), mutations.SHARED: (1, 0), mutations.BY_HAND: (1, 0)}
TOO_LARGE = {
    mutations.OPERATOR,
    mutations.CREDITS,
    mutations.DOWN,
    mutations.ALLOWED,
    mutations.AT_PROBATION,
    mutations.AFTER_LETTER,
    mutations.LATER,
}
BROKE = (27_174, 52_431, 91_895)  # a promise, before that was fixed
FEW = ("no If-None-Match", "no lease", "reopened without asking who paused")


# Measuring what is covered takes as long as the walk itself, and other tests cover the same lines.
pytestmark = pytest.mark.no_cover


@pytest.fixture(autouse=True)
def _simulated(request: pytest.FixtureRequest) -> Iterator[None]:
    if "mutation" in request.fixturenames:  # it is simulated itself, after it has changed the module
        yield
        return
    with wiring.simulated():
        yield


@pytest.mark.parametrize("name", [world.name for world in WORLDS if world.name not in TOO_LARGE])
def test_every_history_of_a_small_world_keeps_the_promises(name: str) -> None:
    faults, jumps = BUDGETS.get(name, (0, 0))

    found = explore(replace(BY_NAME[name], faults=faults, jumps=jumps))

    assert found.violation is None, "\n".join(prove.tell(found))


def test_random_histories_keep_the_promises() -> None:
    seeds = (*range(150), *BROKE)
    broken = [(seed, violation) for seed in seeds for violation, _ in [fuzz.run_seed(seed)] if violation]

    assert not broken, "\n".join(prove.tell_seed(broken[0][0]))


def test_a_seed_makes_the_same_history_again() -> None:
    assert fuzz.run_seed(11) == fuzz.run_seed(11)


@pytest.mark.parametrize("mutation", [mutation for mutation in mutations.MUTATIONS if mutation.name in FEW], ids=FEW)
def test_a_mutation_is_found(mutation: mutations.Mutation) -> None:
    found, _ = mutations.find(mutation, most_seconds=60)

    assert found.violation
    assert not found.violation.startswith("limit")


def test_a_failing_history_is_shrunk_and_replayed_by_its_token() -> None:
    mutation = next(mutation for mutation in mutations.MUTATIONS if mutation.name == FEW[0])
    found, _ = mutations.find(mutation, most_seconds=60)
    assert found.violation
    with mutations.mutated(mutation), wiring.simulated():
        shrunk = fuzz.shrink(found.world, found.history, found.violation, most_runs=100)
        world, walked = fuzz.read_token(fuzz.token_of(found.world, shrunk))
        violation, _ = fuzz.follow(world, walked)

    assert len(shrunk) <= len(found.history)
    assert violation
    assert violation.partition(":")[0] == found.violation.partition(":")[0]


def test_a_limit_that_is_hit_is_a_failure() -> None:
    found = explore(replace(BY_NAME[mutations.ONE], faults=0, jumps=0), most_states=10)

    assert found.violation == "limit: 10 states"


def test_every_mutation_changes_the_source_that_it_names() -> None:
    for mutation in mutations.MUTATIONS:
        with mutations.mutated(mutation):
            pass


def test_a_call_that_dynamodb_refuses_is_no_outage() -> None:
    mutation = mutations.Mutation(
        "a condition that is not one",
        "remove_background.intake",
        'condition = "attribute_not_exists(paused_by) OR "',
        'condition = "attribute_not_exists(paused_by) AND OR "',
        (mutations.CREDITS,),
    )
    found, _ = mutations.find(mutation, most_seconds=60)

    assert found.violation
    assert found.violation.startswith("DynamoDB refuses the call: ")
