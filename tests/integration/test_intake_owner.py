"""A closed intake always has an owner, whoever is killed at whatever point, and whatever others do in between.

Each external call of ReopenIntake, `cutout pause` and `cutout resume` is a point at which it may be killed, or at which
another of them may run from start to end. The state that is left must be consistent after one more run of ReopenIntake.
DynamoDB is that of the simulation, which answers as moto does, and sooner.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cutout.commands import intake as intake_command
from remove_background.caps import Caps
from remove_background.config import ReopenConfig
from remove_background.intake import FUNCTION, OPERATOR, IntakeItem, State
from reopen_intake.handler import Watch
from tests.simulation import aws, processes
from tests.simulation import state as simulation
from tests.simulation.clients import DynamoDB
from tests.unit.fakes import Clock, EventSourceMapping

pytestmark = pytest.mark.no_cover  # measuring would slow its many calls, and other tests cover the same lines


class KilledError(BaseException):
    """As if the process had ended: nothing catches it."""


class Credits:
    """Pixelcut is healthy."""

    def read_credits(self) -> float | None:
        return None


class Calls:
    """Counts the external calls of one run; before one of them, something happens."""

    def __init__(self, before: int = 0, do: Callable[[], object] = lambda: None) -> None:
        self.made = 0
        self._before = before
        self._do = do

    def of(self, client: object) -> Any:  # noqa: ANN401
        calls = self

        class Counted:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(**given: Any) -> Any:  # noqa: ANN401
                    calls.made += 1
                    if calls.made == calls._before:
                        calls._do()
                    return getattr(client, name)(**given)

                return call

        return Counted()


class World:
    """One intake, and all who switch it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._items = simulation.State()
        dynamodb: Any = DynamoDB(
            lambda service, method, *given: aws.serve(self._items, processes.Call(service, method, given))
        )
        self._dynamodb = dynamodb
        self.item = IntakeItem(dynamodb, "ledger")
        self.mapping = EventSourceMapping()

    def begin(self, name: str) -> None:
        self._items.items = {}
        self.mapping = EventSourceMapping(
            "Enabled" if name in ("open", "paused, not closed yet") else "Disabled", reads=1
        )
        if name.startswith("paused"):
            self.item.pause(OPERATOR if name == "paused by an operator" else FUNCTION, "why")

    def run(self, name: str, calls: Calls) -> None:
        dynamodb, functions = calls.of(self._dynamodb), calls.of(self.mapping)
        if name == "ReopenIntake":
            config = ReopenConfig(
                "ledger", "uuid-1", "https://api.example.com", "pixelcut", 300, Caps(None, None, "UTC")
            )
            pixelcut: Any = Credits()
            Watch(config, functions, IntakeItem(dynamodb, "ledger"), pixelcut).look()
            return
        deployed = SimpleNamespace(
            dynamodb=dynamodb, lambda_=functions, settings={"LEDGER_TABLE": "ledger"}, function="remove-background"
        )
        with self._patch.context() as patch:
            patch.setattr("cutout.commands.intake.deployment.find", lambda *_: deployed)
            if name == "pause":
                intake_command.pause("new prices", "cutout", None, yes=True)
            else:
                intake_command.resume("cutout", None, yes=True)

    def look(self) -> tuple[State, str]:
        return self.item.read(), self.mapping.state


BEGINNINGS = (
    "open",
    "disabled by hand",
    "paused, not closed yet",
    "paused by the function",
    "paused by an operator",
)
PAIRS = (
    ("pause", "ReopenIntake"),
    ("ReopenIntake", "pause"),
    ("resume", "ReopenIntake"),
    ("ReopenIntake", "resume"),
    ("pause", "resume"),
    ("resume", "pause"),
)
LONGEST = 30  # calls of one run; more would be a loop


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    monkeypatch.setattr("remove_background.intake.time", clock)
    monkeypatch.setattr("reopen_intake.handler.time", clock)
    return World(monkeypatch)


def interrupt(world: World, one: str, other: str, how: str, before: int) -> bool:
    """Runs one of them, interrupted or killed before one of its calls. Returns whether it reached that call."""

    def happen() -> None:
        if how != "killed":
            world.run(other, Calls())
        if how != "interrupted":
            raise KilledError

    calls = Calls(before, happen)
    try:
        world.run(one, calls)
    except KilledError:
        if how == "killed":
            world.run(other, Calls())
    return calls.made >= before


def every_moment(world: World, beginning: str, one: str, other: str, how: str) -> Iterator[str]:
    """Walks the world up to what is left when `one` was interrupted or killed before each of its calls in turn."""
    for before in range(1, LONGEST):
        world.begin(beginning)
        if not interrupt(world, one, other, how, before):
            return
        yield f"{one} before call {before}, {other}"
    raise AssertionError(f"{one} did not end")


@pytest.mark.parametrize("how", ["killed", "interrupted", "interrupted and killed"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_closed_intake_has_an_owner_and_an_open_one_is_not_closed(world: World, beginning: str, how: str) -> None:
    moments = 0
    for one, other in PAIRS if how != "interrupted and killed" else PAIRS[:4]:
        for moment in every_moment(world, beginning, one, other, how):
            moments += 1
            left, _ = world.look()
            world.run("ReopenIntake", Calls())
            seen, state = world.look()
            assert state == ("Disabled" if seen.paused_by else "Enabled"), moment
            # An operator's pause stands until an operator resumes.
            if left.paused_by == OPERATOR or (how == "interrupted" and {one, other} == {"pause", "ReopenIntake"}):
                assert seen.paused_by == OPERATOR, moment
    assert moments > 20
