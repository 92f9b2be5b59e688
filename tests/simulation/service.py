"""What Pixelcut answers in a world, and what that costs."""

from . import pixelcut, promises
from .processes import Answer, Call
from .state import Running, State, Version
from .wiring import INPUT
from .world import World

_PREFIX = f"https://{INPUT}/"


def answer(world: World, state: State, running: Running, call: Call, what: str) -> Answer:
    """`what` is "go", or the fault that the scheduler has chosen."""
    match call.method:
        case "credits":
            failed = what == "failed" or state.blocked == "down"
            return Answer(None, "failed") if failed else pixelcut.read_credits(state)
        case "fetch":
            return _fetch(world, state, call.args[0], what)
        case _:
            return _post(world, state, running, call, what)


def kills(world: World, call: Call) -> bool:
    """Whether the function is killed each time while it waits for the answer."""
    return call.method == "post" and world.service.get(_key(call.args[0])) == "kill"


def _key(image_url: str) -> str:
    return image_url.removeprefix(_PREFIX).partition("?")[0]


def _fetch(world: World, state: State, url: str, what: str) -> Answer:
    if what == "failed":
        return Answer(None, "failed")
    if what == "gone" or world.service.get(url.split("/")[3]) == "gone":
        pixelcut.spoil(state, url, "gone")
        promises.excuse_result(state, url)
    return pixelcut.fetch(state, url)


def _post(world: World, state: State, running: Running, call: Call, what: str) -> Answer:
    promises.on_post(state, running)
    image_url = call.args[0]
    key, version_id = _key(image_url), image_url.partition("?")[2]
    outcome = what if what != "go" else world.service.get(key, "ok")
    if state.blocked and outcome == "ok":
        outcome = {"down": "failed", "put": "ok", "head": "ok"}.get(state.blocked, state.blocked)
    outcome = "ok" if outcome == "gone" else outcome  # it is only gone later
    version = _version(state, key, version_id)
    if version.content is None:
        outcome = "400"  # the service cannot fetch it
    if outcome == "credits":
        learning = world.workers * world.batch * (1 + world.jumps - state.jumps)  # a jump ends those that know
        promises.on_refused(state, learning + world.faults - state.faults)
    if outcome == "ok" or pixelcut.OUTCOMES[outcome]:
        etag = version.etag.strip('"') if version_id else _claimed(state, running, key)
        number = promises.on_charge(state, running, key, etag, flying=outcome == "ok")
        if world.daily is not None:
            promises.on_spent(state, promises.sent_at(running, call), world.daily)
        if outcome == "ok":
            url = promises.result_url(key, etag, number)
            pixelcut.add_result(state, url, version.content or b"")
            return Answer(url)
    elif outcome == "500" and world.daily is not None:
        promises.on_unknown(state, promises.sent_at(running, call))
    return Answer(None, outcome)


def _claimed(state: State, running: Running, key: str) -> str:
    """The ETag of the upload that is paid for: without versions, the service may get another one."""
    item = dict(state.items.get(f"cutout:{promises.output_key(key)}", ()))
    holder = str(item.get("holder", ("S", ""))[1])
    return str(item["etag"][1]) if holder.startswith(f"token-{running.serial}-") else min(running.etags)


def _version(state: State, key: str, version_id: str) -> Version:
    """What the service gets: the version that was signed, or what stands under the key."""
    versions = state.objects[INPUT, key]
    if not version_id:
        versions = versions[-1:]
    return next((found for found in versions if version_id in ("", found.version_id)), Version("", "", None))
