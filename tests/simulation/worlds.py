"""The small worlds, of which every history is walked."""

from .world import World

_ALONE = {"watched": True, "faults": 1, "jumps": 0, "workers": 2, "expected": {"a.jpg": "letter"}}
_TWO = (("put", "a.jpg", "A"), ("put", "b.jpg", "B"))
# Just after a midnight of the cap's zone, after one of UTC, and a day and two days later.
_DAYS = (("at", "31"), *(("rest", "at", seconds) for seconds in ("3700", "90000", "180000", "270000")))
_CAP = {"daily": 1, "watched": True, "faults": 1, "jumps": 0, "patience": 1, "seconds": 5 * 24 * 3600.0}
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
        "A, B three times, A while the last of them writes",
        setup=(("put", "a.jpg", "A"),),
        actors=((("rest", "put", "a.jpg", "B", "3"), ("at", "15"), ("at", "130"), ("put", "a.jpg", "A")),),
        calm=True,
        workers=3,
        faults=0,
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
        "another upload of the output key, after a letter",
        setup=(("block", "no_url"), ("put", "a.gif", "A", "2")),
        actors=((("letter", "a.gif"), ("unblock",), ("put", "a.jpg", "B"), ("at", "4000"), ("at", "4000")),),
        service={"a.jpg": "rejected"},
        calm=True,
        expected={"a.gif": "letter", "a.jpg": "letter"},
        faults=0,
        jumps=0,
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
        "a replayed letter is delivered twice, and S3 fails at first",
        setup=(("block", "no_url"), ("put", "a.jpg", "A")),
        actors=(
            (
                ("letter", "a.jpg"),
                ("block", "head"),
                ("replay", "a.jpg", "2"),
                ("letter", "a.jpg"),
                ("unblock",),
            ),
        ),
        calm=True,
        workers=1,  # a letter and the record of it are two calls: between them another delivery may still pay
        expected={"a.jpg": "any"},
        faults=1,
        jumps=1,
    ),
    World(
        "the same bytes twice, and no cutout of them",
        setup=(("put", "a.jpg", "A"), ("put", "a.jpg", "A")),
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
        "paused and reopened while an upload waits for its slot",
        setup=(("backlog", "20"), ("put", "a.jpg", "A", "2")),
        actors=((("reopened",),),),
        faults=1,
        jumps=0,
    ),
    World(
        "paused while a request is being connected",
        setup=(("put", "a.jpg", "A"),),
        actors=((("pause",), ("rest", "resume")),),
        connects=6.0,
        watched=True,
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
        "S3 fails before anything is paid",
        setup=(("block", "head"), *_THREE),
        actors=((("unblock",),),),
        watched=True,
        workers=1,
        patience=8,
        faults=0,
        jumps=0,
    ),
    World(
        "the output bucket refuses",
        setup=(("block", "put"), *_THREE),
        actors=((("unblock",),),),
        watched=True,
        expected={"a.jpg": "any", "b.jpg": "any", "c.jpg": "any"},
        patience=4,
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
    World(
        "a cap, and midnight",
        setup=(("counted",), *_TWO),
        actors=(_DAYS,),
        **_CAP | {"faults": 0},  # type: ignore[arg-type]
    ),
    World(
        "a cap, and one environment that fails",
        setup=(("counted",), *_TWO),
        actors=(_DAYS,),
        workers=1,
        **_CAP,  # type: ignore[arg-type]
    ),
    World(
        "more is allowed at the cap",
        setup=(("counted",), *_THREE),
        actors=((("allow", "1"),), (("at", "31"), *_DAYS[2:])),
        workers=1,
        **_CAP | {"faults": 0},  # type: ignore[arg-type]
    ),
    World(
        "a credit is given back",
        setup=(("counted",), *_THREE),
        actors=(_DAYS[2:],),
        service={"a.jpg": "rejected"},
        expected={"a.jpg": "letter"},
        workers=1,
        kinds=frozenset({"lost", "repeat"}),
        **_CAP,  # type: ignore[arg-type]
    ),
    World(
        "on probation at a cap",
        setup=(("reopened",), *_TWO),
        actors=(_DAYS,),
        **_CAP | {"faults": 0},  # type: ignore[arg-type]
    ),
    *(
        World(f"one upload always fails ({kind})", setup=_THREE, service={"a.jpg": kind}, **_ALONE)  # type: ignore[arg-type]
        for kind in ("gone", "no_url", "odd", "500", "403", "kill")
    ),
]
BY_NAME = {world.name: world for world in WORLDS}
