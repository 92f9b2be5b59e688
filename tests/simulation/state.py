"""The state of a simulated world: every part is immutable, so that a copy is cheap and can be compared and hashed."""

from typing import Any, NamedTuple

from .expressions import Value
from .processes import Node

START = 1_033_170  # of the clock, in seconds: half a minute before midnight in ZONE, and an hour before it in UTC
ZONE, ZONE_SECONDS = "Etc/GMT-1", 3600  # which is east of UTC
DAY_SECONDS = 86_400
MIDNIGHT = START + 30

FrozenItem = tuple[tuple[str, Value], ...]  # sorted by name


class Version(NamedTuple):
    """One version of an S3 object; `content` is None for a delete marker."""

    version_id: str
    etag: str
    content: bytes | None
    metadata: tuple[tuple[str, str], ...] = ()


class Message(NamedTuple):
    """`holder` is the name of the environment that has received it, "" where none has."""

    queue: str
    body: str
    attributes: tuple[tuple[str, str, str], ...]  # name, type, value
    sent: float
    visible: float
    receives: int
    holder: str


class Charge(NamedTuple):
    """A credit charged, for one version of an upload; `state` says whether its result can still be had."""

    key: str
    etag: str
    number: int
    state: str  # flying, kept, displaced, excused
    environment: str = ""  # whose call it is, while it is flying
    until: float = 0.0  # `valid_until`, as the ledger has it
    current: frozenset[str] = frozenset()  # ETags that stood under the key since it was kept, or displaced


class Running(NamedTuple):
    """An execution environment in the middle of an invocation, or warm (`node` has results)."""

    serial: str
    kind: str  # worker, watch, pause, resume
    node: Node
    ends: float  # its timeout
    etags: frozenset[str] = frozenset()  # of the uploads that it works on
    slot: str = ""  # open or paused, when the last slot was reserved
    repeated: tuple[int, ...] = ()  # threads whose call was applied, and will be sent again
    looked: float = 0.0  # when it last saw whether the intake is open
    is_open: bool = False  # what it saw
    probe: int = -1  # the thread that has the probe


class State:
    """All of a world. Parts are replaced, never changed."""

    def __init__(self) -> None:
        self.clock = float(START)
        self.elapsed = 0.0  # before the clock was set back
        self.idles = 0  # since an actor took a step
        self.objects: dict[tuple[str, str], tuple[Version, ...]] = {}
        self.puts: tuple[tuple[str, int], ...] = ()  # how many versions each key has had: none comes again
        self.items: dict[str, FrozenItem] = {}
        self.messages: tuple[Message, ...] = ()
        self.mapping = "Enabled"
        self.mapping_until = 0.0
        self.handed = 0  # messages that may still be handed out though the mapping is closed
        self.results: tuple[tuple[str, float, bytes, str], ...] = ()  # result_url, its end, its PNG, fine|gone|broken
        self.charges: tuple[Charge, ...] = ()
        self.bases: tuple[tuple[str, str, int], ...] = ()  # charges of an upload (key, ETag) that count no longer
        self.unbilled: tuple[tuple[str, str], ...] = ()  # upload of each letter that said rightly: nothing was billed
        self.blocked = ""  # why the service refuses everything
        self.running: tuple[Running, ...] = ()
        self.script: tuple[int, ...] = ()  # how far each actor has come in its script
        self.starts: tuple[tuple[str, int], ...] = ()  # environments started so far, by what they work on
        self.faults = 0  # that may still happen
        self.jumps = 0
        self.ticks = 0
        self.watch_at = 0.0
        self.settled = False  # ReopenIntake has found nothing to change since anything changed
        self.refused = 0  # paid calls that the account was too poor for, since the intake was paused
        self.proved = False  # a cutout was written since the intake was reopened
        self.operator = ""  # what an operator has done: pausing, paused, resuming, by hand
        self.spent: tuple[tuple[int, int], ...] = ()  # credits charged, by day: see promises.py
        self.unknown: tuple[tuple[int, int], ...] = ()  # of which that is not known, by day
        self.allowed: tuple[tuple[int, int], ...] = ()  # beyond the cap, by day
        self.killed = False  # an environment was, also by its timeout: what it had reserved stays reserved
        self.granted = 0  # credits that operators have allowed, or are allowing
        self.last = ""  # the environment that moved last
        self.violation: str | None = None

    def copy(self) -> "State":
        new = State.__new__(State)
        new.__dict__.update(self.__dict__)
        return new

    def key(self) -> Any:
        return (
            self.clock,
            frozenset(self.objects.items()),
            frozenset(self.items.items()),
            self.messages,
            self.mapping,
            self.mapping_until,
            self.handed,
            self.results,
            self.charges,
            self.bases,
            self.unbilled,
            self.blocked,
            tuple([(running[0], running[2].number, running[5:]) for running in self.running]),
            self.script,
            self.puts,
            self.starts,
            self.watch_at,
            self.settled,
            self.proved,
            self.refused,
            self.operator,
            self.spent,
            self.unknown,
            self.allowed,
            self.granted,
            self.killed,
            self.idles,
        )
