"""A history as a table of calls: who made it, which call, what happened to it, and its answer."""

from collections.abc import Iterable, Iterator
from typing import Any

from . import promises
from .engine import OUTLAST, Engine
from .options import RESPOND
from .processes import Answer, Call, Tree
from .state import START, State
from .wiring import builder
from .world import Choice, World

WHAT = {
    "go": "done",
    "failed": "FAILED BEFORE",
    "lost": "DONE, ANSWER LOST",
    "repeat": "DONE, ANSWER LOST, WILL BE SENT AGAIN",
    "gone": "THE RESULT IS GONE",
    "post": "ANSWERED BADLY",
}


def replay(world: World, choices: Iterable[Choice]) -> tuple[str | None, list[tuple[str, ...]]]:
    """What is broken, and the rows of the table. Choices that are not possible are passed over."""
    tree = Tree(builder(world), remember=False)
    engine = Engine(world, tree)
    state = engine.start()
    rows: list[tuple[str, ...]] = []
    for choice in choices:
        if choice not in engine.choices(state) and not (choice == OUTLAST and engine.can_outlast(state)):
            continue
        before, state = state, engine.apply(state, choice)
        rows.append(_row(engine, before, state, choice))
        if state.violation:
            break
    else:
        if not engine.choices(state):
            state.violation = engine.at_rest(state)
    tree.close()
    return state.violation, rows


def _row(engine: Engine, before: State, after: State, choice: Choice) -> tuple[str, ...]:
    clock = f"{after.clock + after.elapsed - START:8.1f}"
    match choice:
        case (what, serial, thread, *more) if what in WHAT:
            running = next(running for running in before.running if running.serial == serial)
            call = RESPOND if thread == -1 else running.node.pending[thread]
            assert call
            now = [other for other in after.running if other.serial == serial]
            answer = _last_answer(now[0].node, before) if now and what != "repeat" else ""
            return (clock, f"{running.kind} {serial}", _call(call), " ".join((WHAT[what], *more)), answer)
        case ("kill", serial):
            kind = next(running.kind for running in before.running if running.serial == serial)
            return (clock, f"{kind} {serial}", "", "KILLED", "")
        case ("step", actor):
            return (clock, "outside", " ".join(engine.world.actors[actor][before.script[actor]]), "", "")
        case ("deliver", *indices):
            about = ", ".join("{}@{:.6}".format(*promises.letter_of(before.messages[index].body)) for index in indices)
            return (clock, f"worker {after.last}", f"is invoked with {about}", "", "")
        case ("watch",):
            return (clock, after.last, "is invoked", "", "")
        case _:
            return (
                clock,
                "clock",
                " ".join(map(str, choice)),
                f"+{after.clock + after.elapsed - before.clock - before.elapsed:.1f} s",
                "",
            )


def _last_answer(node: Any, before: State) -> str:
    event = node.event
    answer = event[1]
    if not isinstance(answer, Answer):
        return ""
    text = f"{answer.error or ''} {_short(answer.value)}".strip()
    return text[:160]


def _short(value: Any) -> str:
    if (
        isinstance(value, tuple)
        and value
        and isinstance(value[0], tuple)
        and len(value[0]) == 2
        and isinstance(value[0][1], tuple)
    ):
        hidden = ("id", "expires", "source")
        return " ".join(f"{name}={_brief(content[1])}" for name, content in value if name not in hidden)
    return "" if value in (None, ()) else _brief(value)


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:18]}...{text[-18:]}"


def _call(call: Call) -> str:
    match call.method:
        case "update_item":
            id_, update, condition, _, values, *_ = call.args
            text = f"{update} IF {condition}" if condition else str(update)
            for name, value in sorted(values, key=lambda pair: -len(pair[0])):
                text = text.replace(name, _brief(value[1]))
            return f"update {id_}: {text}"
        case "put_object":
            bucket, key, content, _, if_match, if_none = call.args
            condition = f"If-Match {if_match:.8}" if if_match else "If-None-Match" if if_none else "no condition"
            return f"put {bucket}/{key} ({content.decode()}, {condition})"
        case "send_message":
            queue, _, delay, attributes = call.args
            return f"send to {queue} in {delay} s: " + " ".join(f"{name}={value:.30}" for name, _, value in attributes)
        case _:
            return f"{call.method} " + " ".join(_brief(argument) for argument in call.args if argument is not None)


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    for clock, who, what, happened, answer in rows:
        yield f"{clock}  {who:22}  {happened:16}  {what:.230}"
        if answer:
            yield f"{'':10}{'':24}  -> {answer}"
