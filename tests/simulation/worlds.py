"""The small worlds, of which every history is walked."""

from .world import World

_ALONE = {"watched": True, "faults": 1, "jumps": 0, "workers": 2, "expected": {"a.jpg": "letter"}}
_THREE = (("put", "a.jpg", "A"), ("put", "b.jpg", "B"), ("put", "c.jpg", "C"))

WORLDS = [
    World("one upload, three deliveries", setup=(("put", "a.jpg", "A", "3"),), calm=True, faults=2, jumps=1),
    World(
        "two versions, two deliveries each",
        setup=(("put", "a.jpg", "A", "2"),),
        actors=((("put", "a.jpg", "B", "2"),),),
        calm=True,
        faults=1,
        jumps=1,
    ),
    World(
        "A, B, A",
        setup=(("put", "a.jpg", "A"),),
        actors=((("put", "a.jpg", "B"), ("put", "a.jpg", "A")),),
        calm=True,
        faults=1,
        jumps=1,
    ),
    World(
        "A, B twice, A",
        setup=(("put", "a.jpg", "A"),),
        actors=((("put", "a.jpg", "B", "2"), ("put", "a.jpg", "A")),),
        calm=True,
        faults=1,
        jumps=0,
    ),
    World(
        "A, B, A without versions",
        setup=(("put", "a.jpg", "A"),),
        actors=((("put", "a.jpg", "B"), ("put", "a.jpg", "A")),),
        calm=True,
        versioned=False,
        faults=1,
        jumps=0,
    ),
    World(
        "two uploads of one output key",
        setup=(("put", "a.jpg", "A", "2"), ("put", "a.gif", "B", "2")),
        calm=True,
        expected={"a.jpg": "any", "a.gif": "any"},
        faults=1,
        jumps=1,
    ),
    World(
        "somebody else writes under the output key",
        setup=(("put", "a.jpg", "A"),),
        actors=((("put", "a.jpg", "B"),), (("occupy", "a.jpg"),)),
        calm=True,
        expected={"a.jpg": "any"},
        faults=1,
        jumps=1,
    ),
    World(
        "delete and upload again",
        setup=(("put", "a.jpg", "A", "2"),),
        actors=((("delete", "a.jpg"), ("put", "a.jpg", "A")),),
        calm=True,
        faults=1,
        jumps=1,
    ),
    World(
        "roll back and replay",
        setup=(("put", "a.jpg", "A"), ("put", "a.jpg", "B")),
        actors=((("rollback", "a.jpg"), ("replay", "a.jpg")),),
        calm=True,
        faults=1,
        jumps=1,
    ),
    World(
        "a letter is replayed at once",
        setup=(("put", "a.jpg", "A", "2"),),
        actors=((("letter", "a.jpg"), ("replay", "a.jpg")),),
        service={"a.jpg": "no_url"},
        calm=True,
        expected={"a.jpg": "letter"},
        faults=1,
        jumps=1,
    ),
    World(
        "an operator pauses and resumes",
        setup=(("put", "a.jpg", "A"),),
        actors=((("pause",),), (("watch",),), (("rest", "resume"),)),
        watched=True,
        patience=1,
        faults=1,
        jumps=0,
    ),
    World(
        "no credits, a reopening, and an operator",
        setup=(("block", "credits"), ("put", "a.jpg", "A"), ("put", "b.jpg", "B")),
        actors=((("unblock",),), (("pause",), ("rest", "resume"))),
        watched=True,
        workers=1,
        patience=1,
        faults=1,
        jumps=0,
    ),
    World(
        "an outage of all, two environments",
        setup=(("block", "down"), *_THREE),
        actors=((("unblock",),),),
        watched=True,
        patience=3,
        faults=1,
        jumps=0,
    ),
    World(
        "the output bucket refuses",
        setup=(("block", "put"), *_THREE),
        actors=((("unblock",),),),
        watched=True,
        expected={"a.jpg": "any", "b.jpg": "any", "c.jpg": "any"},
        patience=9,
        faults=1,
        jumps=0,
    ),
    World(
        "disabled by hand",
        setup=(("put", "a.jpg", "A"),),
        actors=((("disable",),), (("watch",), ("rest", "resume"))),
        watched=True,
        faults=1,
        jumps=1,
    ),
    *(
        World(f"one upload always fails ({kind})", setup=_THREE, service={"a.jpg": kind}, **_ALONE)  # type: ignore[arg-type]
        for kind in ("gone", "no_url", "500", "403", "kill")
    ),
]
BY_NAME = {world.name: world for world in WORLDS}
