"""Execution environments that stop at each external call: a scheduler decides who continues, and what is answered.

An environment is a deterministic function of what it was given: its invocations, and the answers to its calls. So its
states form a tree (`Node`), each edge of which has to be run once only, however many histories share it. To get to a
node whose environment has gone on meanwhile, a new one is fed the same history.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

# What an execution environment is: from the payload of an invocation to the work of its threads.
Work = Callable[[Any], Sequence[Callable[[], Any]]]


class Call(NamedTuple):
    """An external call that waits for its answer."""

    service: str
    method: str
    args: tuple[Any, ...]


class Answer(NamedTuple):
    """`error` is None, or an error's code; `value` is what was answered, or belongs to the error."""

    value: Any = None
    error: str | None = None


class Killed(BaseException):
    """The execution environment is gone: no `except Exception` catches it, and no `finally` can call anybody."""


class _Runner:
    """A thread of the operating system, used for one task after the other."""

    free: ClassVar["deque[_Runner]"] = deque()

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            assert self.job
            self.job()


class Task:
    """One thread of an execution environment: the work on one message, or a command."""

    def __init__(self, process: "Process", work: Callable[[], Any]) -> None:
        self.process = process
        self.work = work
        self.pending: Call | None = None
        self.blocked = False
        self.answer: Answer | None = None
        self.result: Any = None
        self.done = False
        self.runner = _Runner.free.popleft() if _Runner.free else _Runner()
        self.runner.job = self._run

    def _run(self) -> None:
        try:
            self.result = self.work()
        except Killed:
            self.result = "killed"
        except BaseException as error:  # noqa: BLE001  # told as the result: a crash of the environment's own
            self.result = error
        self.done = True
        self.pending = None
        _Runner.free.append(self.runner)
        Process.baton.release()

    def resume(self) -> None:
        """Let the thread run until its next call, or its end."""
        current = Process.current
        Process.current = self
        self.runner.go.release()
        Process.baton.acquire()
        Process.current = current

    def wait(self) -> None:
        if self.process.killed:
            raise Killed
        Process.baton.release()
        self.runner.go.acquire()
        if self.process.killed:
            raise Killed


class Process:
    """An execution environment that runs: of its threads one at a time has the baton."""

    baton = threading.Lock()  # held, but while it is handed back by a thread
    baton.acquire()
    current: Task | None = None

    def __init__(self, build: Callable[["Process"], "Work"], serial: str) -> None:
        self.serial = serial
        self.now = 0.0
        self.killed = False
        self.tokens = 0
        self.tasks: list[Task] = []
        self.waiting: list[Task] = []  # got the lock that they were blocked on
        self.invoke_work = build(self)

    def invoke(self, now: float, payload: Hashable) -> None:
        self.now = now
        self.tasks = [Task(self, work) for work in self.invoke_work(payload)]
        for task in self.tasks:
            task.resume()
        self._run_waiting()

    def answer(self, thread: int, answer: Answer, now: float) -> None:
        self.now = now
        task = self.tasks[thread]
        task.answer, task.pending = answer, None
        task.resume()
        self._run_waiting()

    def _run_waiting(self) -> None:
        while self.waiting:
            self.waiting.pop(0).resume()

    def kill(self) -> None:
        self.killed = True
        for task in self.tasks:
            if not task.done:
                task.resume()
        self.tasks = []


def call(service: str, method: str, *args: Any) -> Answer:
    """Make an external call from within a task: others may run before it is answered."""
    task = Process.current
    assert task, "an external call outside of the simulation"
    task.pending = Call(service, method, args)
    task.wait()
    assert task.answer is not None
    return task.answer


class Lock:
    """A lock whose holder may be paused at an external call: who waits for it gives the baton back."""

    def __init__(self) -> None:
        self._holder: Task | None = None
        self._queue: deque[Task] = deque()

    def acquire(self) -> bool:
        task = Process.current
        if self._holder is None:
            self._holder = task
            return True
        assert task
        assert self._holder is not task, "a lock taken twice by one thread"
        self._queue.append(task)
        task.blocked = True
        task.wait()
        return True

    def release(self) -> None:
        self._holder = None
        if self._queue:
            self._holder = task = self._queue.popleft()
            task.blocked = False
            task.process.waiting.append(task)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


Event = tuple[Any, ...]  # ("invoke", now, payload) or (thread, answer, now)


@dataclass(eq=False, slots=True)
class Node:
    """A state of an execution environment. `pending` has a call for each thread; None where it is done or blocked."""

    tree: "Tree"
    number: int
    program: tuple[str, str]
    history: tuple["Node", Event] | None
    pending: tuple[Call | None, ...] = ()
    since: tuple[float, ...] = ()  # when each thread made its call
    results: tuple[Any, ...] | None = None  # of all threads, once they are done
    children: dict[Event, "Node"] = field(default_factory=dict)
    event: Event = ()

    def step(self, event: Event) -> "Node":
        child = self.children.get(event)
        return child if child is not None else self.tree.step(self, event)

    def events(self) -> list[Event]:
        events: list[Event] = []
        node = self
        while node.history:
            node, event = node.history
            events.append(event)
        return events[::-1]


class Tree:
    """All states of all execution environments that were met. `remember` is off where no history is walked twice."""

    MOST_ALIVE = 100

    def __init__(self, build: Callable[[str, Process], Any], *, remember: bool = True) -> None:
        self.build = build
        self.remember = remember
        self.roots: dict[tuple[str, str], Node] = {}
        self.alive: OrderedDict[int, Process] = OrderedDict()
        self.nodes = 0
        self.runs = 0

    def root(self, kind: str, serial: str) -> Node:
        program = (kind, serial)
        if program not in self.roots or not self.remember:
            self.nodes += 1
            self.roots[program] = Node(self, self.nodes, program, None)
        return self.roots[program]

    def step(self, node: Node, event: Event) -> Node:
        process = self.alive.pop(node.number, None)
        if process is None:
            process = self._start(node)
        _feed(process, event)
        self.nodes += 1
        tasks = process.tasks
        child = Node(
            self,
            self.nodes,
            node.program,
            (node, event) if self.remember else None,
            tuple([task.pending for task in tasks]),
        )
        if event[0] == "invoke":
            child.since = (event[1],) * len(tasks)
        else:
            child.since = tuple(
                [
                    event[2] if task.pending is not before else since
                    for task, before, since in zip(tasks, node.pending, node.since, strict=True)
                ]
            )
        if all(task.done for task in tasks):
            child.results = tuple(task.result for task in tasks)
        child.event = event
        if self.remember:
            node.children[event] = child
        self.alive[child.number] = process
        if len(self.alive) > self.MOST_ALIVE:
            self.alive.popitem(last=False)[1].kill()
        return child

    def _start(self, node: Node) -> Process:
        self.runs += 1
        kind, serial = node.program
        process = Process(lambda process: self.build(kind, process), serial)
        for event in node.events():
            _feed(process, event)
        return process

    def drop(self, node: Node) -> None:
        """The environment is gone, and nobody comes back to it."""
        if (process := self.alive.pop(node.number, None)) is not None:
            process.kill()

    def close(self) -> None:
        for process in self.alive.values():
            process.kill()
        self.alive.clear()


def _feed(process: Process, event: Event) -> None:
    if event[0] == "invoke":
        process.invoke(event[1], event[2])
    else:
        process.answer(event[0], event[1], event[2])
