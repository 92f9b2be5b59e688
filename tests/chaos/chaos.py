"""Uploads under every failure at once: is anything lost, paid twice, stale, or of the wrong image?

A charge for an input that was charged for before is excused by an earlier answer that never came to be known: the
stand-in was told to lose it or to delay it past the function's patience, or the environment was killed before the
result_url was in the ledger. A result_url is known from the moment at which it is in the ledger.
"""

import hashlib
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cutout.local.faults import Rule
from tests.chaos.bed import (
    BACKOFF,
    TIMEOUT,
    VISIBILITY,
    Bed,
    Figure,
    await_end,
    deployed,
    parser,
    picture,
    report,
)
from tests.chaos.witness import Removal

FUNCTION_SECONDS = 15
# Longer than the function waits for the paid call.
PAST_PATIENCE_SECONDS = 16.0
# Between an answer that was sent and its result_url in the ledger, on a busy machine.
CHECKPOINT_SECONDS = 3.0
UPLOADERS = 16
FAULTS = (
    Rule(on="removal", rate=0.10, status=503),
    Rule(on="removal", rate=0.05, status=429),
    Rule(on="removal", rate=0.02, after=True, drop=True),
    Rule(on="removal", rate=0.01, after=True, delay_seconds=PAST_PATIENCE_SECONDS),
    Rule(on="download", rate=0.03, cut=0.5),
)
BAD = {
    "unsupported_image_format": lambda seed: f"This is no image, {seed}. ".encode() * 50,
    "malformed_image": lambda seed: picture(seed)[:400],
    "resolution_too_low": lambda seed: picture(seed, height=63),
}


@dataclass
class Key:
    """A key of the input bucket and what its owner does to it: `fate` beside its first upload."""

    name: str
    fate: str
    starts: float  # seconds from the beginning
    pause: float  # seconds before its fate
    bodies: list[bytes]
    code: str | None = None  # of the letter that a bad file deserves
    versions: list[str] = field(default_factory=list)

    def play(self, bed: Bed, begun: float) -> None:
        rest = threading.Event()
        rest.wait(max(0, begun + self.starts - time.monotonic()))
        for number, body in enumerate(self.bodies):
            if number:
                rest.wait(self.pause)
            self.versions.append(bed.upload(self.name, body))
        if self.fate == "event twice":
            rest.wait(self.pause)
            body_of_event = bed.notifications[self.name, self.versions[-1]]
            bed.sqs.send_message(QueueUrl=bed.outputs["UploadQueueUrl"], MessageBody=body_of_event)
        if self.fate == "deleted":
            rest.wait(self.pause)
            bed.s3.delete_object(Bucket=bed.input, Key=self.name)


def plan(count: int, seed: int, seconds: float) -> list[Key]:
    """10 % duplicates (an event sent twice, the same bytes twice), 5 % overwritten, 5 % deleted, 5 % bad files."""
    draw = random.Random(seed)
    shares = {"event twice": 0.05, "bytes twice": 0.05, "overwritten": 0.05, "deleted": 0.05, "bad": 0.05}
    fates = [fate for fate, share in shares.items() for _ in range(max(1, round(count * share)))]
    fates += ["plain"] * (count - len(fates))
    draw.shuffle(fates)
    keys = []
    for number, fate in enumerate(fates):
        name = f"{seed}-{number:05}"
        first, second = picture(f"{name}-1"), picture(f"{name}-2")
        bodies = {"bytes twice": [first, first], "overwritten": [first, second]}.get(fate, [first])
        code = None
        if fate == "bad":
            code = draw.choice(list(BAD))
            bodies = [BAD[code](name)]
        keys.append(Key(f"{name}.jpg", fate, seconds * number / count, draw.uniform(0.05, 2), bodies, code))
    return keys


class Killer:
    """SIGKILL to every execution environment, again and again, for some seconds of its block."""

    def __init__(self, bed: Bed, seed: int, limits: tuple[float, float], seconds: float) -> None:
        """`limits`: the shortest and the longest pause between two kills, in seconds."""
        self._bed, self._draw, self._limits = bed, random.Random(seed), limits
        self._ends = time.monotonic() + seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._kill, name="killer")
        self.kills: list[tuple[float, float]] = []  # from and until when each went on, seconds since the epoch
        self.killed = 0

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._stopped.wait(self._draw.uniform(*self._limits)) and time.monotonic() < self._ends:
            begun = time.time()
            self.killed += self._bed.cloud.kill_environments()
            self.kills.append((begun, time.time()))


def excuse(
    earlier: Removal, later: Removal, checkpoints: Mapping[str, float], kills: Sequence[tuple[float, float]]
) -> str:
    """Why an input that was charged for was charged for again."""
    if earlier.result_url is None:
        return "answer lost"
    if earlier.result_url in checkpoints:
        return "known" if checkpoints[earlier.result_url] <= later.came else "at the same time"
    if earlier.answered - earlier.came >= PAST_PATIENCE_SECONDS:
        return "answer lost"
    ends = earlier.answered + CHECKPOINT_SECONDS
    return "killed" if any(begun <= ends and ended >= earlier.came for begun, ended in kills) else "unexplained"


def judge_charges(
    charges: Sequence[Removal], checkpoints: Mapping[str, float], kills: Sequence[tuple[float, float]]
) -> Counter[str]:
    """The charges that were not the first for their input, by the worst that is to be said of each."""
    worst_first = ["known", "at the same time", "unexplained", "killed", "answer lost"]
    found: Counter[str] = Counter()
    before: dict[str | None, list[Removal]] = defaultdict(list)
    for charge in charges:
        earlier = before[charge.input_sha256]
        if earlier:
            found[min((excuse(e, charge, checkpoints, kills) for e in earlier), key=worst_first.index)] += 1
        earlier.append(charge)
    return found


def judge_keys(bed: Bed, keys: Sequence[Key]) -> list[Figure]:
    """What became of each upload."""
    made_of: dict[str | None, set[str | None]] = defaultdict(set)
    for charge in bed.stand_in.charges():
        made_of[charge.result_sha256].add(charge.input_sha256)
    cutouts = {
        name: hashlib.sha256(bed.s3.get_object(Bucket=bed.output, Key=name)["Body"].read()).hexdigest()
        for name in bed.cutouts()
    }
    letters = bed.take_letters()
    codes = {(name, version): code for name, version, code in letters}
    ends: Counter[str] = Counter()
    for key in keys:
        inputs = [hashlib.sha256(body).hexdigest() for body in key.bodies]
        cutout = cutouts.pop(key.name.replace(".jpg", ".png"), None)
        has_letter = (key.name, key.versions[-1]) in codes
        if cutout and inputs[-1] not in made_of[cutout]:
            ends["stale" if made_of[cutout] & set(inputs) else "wrong source"] += 1
        if cutout and has_letter:
            ends["both"] += 1
        if has_letter and codes[key.name, key.versions[-1]] != key.code:
            ends["undeserved"] += 1
        if key.fate == "deleted":
            ends["deleted"] += 1
        elif cutout or has_letter:
            ends["cutout" if cutout else "letter"] += 1
        else:
            ends["unaccounted"] += 1
    ends["wrong source"] += len(cutouts)  # of no upload at all
    return [
        Figure("keys", len(keys)),
        Figure("uploads", sum(len(key.versions) for key in keys)),
        Figure("with their cutout", ends["cutout"]),
        Figure("with a letter", ends["letter"]),
        *(Figure(f"letters {code}", count) for code, count in sorted(Counter(code for *_, code in letters).items())),
        Figure("superseded", sum(len(key.versions) - 1 for key in keys)),
        Figure("deleted", ends["deleted"]),
        Figure("unaccounted for", ends["unaccounted"], most=0),
        Figure("with a cutout and a letter", ends["both"], most=0),
        Figure("letters not deserved", ends["undeserved"], most=0),
        Figure("stale cutouts", ends["stale"], most=0),
        Figure("images of the wrong source", ends["wrong source"], most=0),
    ]


def main() -> int:
    options_of = parser(__doc__ or "", uploads=1000)
    options_of.add_argument("--seed", type=int, default=1)
    options_of.add_argument("--seconds", type=float, default=30, help="over which the uploads arrive")
    options_of.add_argument("--empty-at", type=float, default=20, help="seconds until the balance is empty")
    options_of.add_argument("--empty-for", type=float, default=20, help="seconds until it is filled again")
    options_of.add_argument("--kill-every", type=float, nargs=2, default=(5, 15), metavar=("LEAST", "MOST"))
    options_of.add_argument("--kill-for", type=float, default=90, help="seconds after which nothing is killed any more")
    options_of.add_argument("--bound", type=float, default=600, help="seconds after which the run is given up")
    options = options_of.parse_args()

    changes = {TIMEOUT: FUNCTION_SECONDS, VISIBILITY: 15, BACKOFF: 2}
    parameters = {"RequestsPerSecond": "50", "MaximumConcurrency": "4"}
    keys = plan(options.uploads, options.seed, options.seconds)
    with deployed(changes, speed=150, parameters=parameters) as bed:
        credits_ = bed.stand_in.state()["settings"]["credits"]
        bed.stand_in.set_faults(*FAULTS, seed=options.seed)
        empty = threading.Timer(options.empty_at, bed.stand_in.change_settings, kwargs={"credits": 0})
        refill = threading.Timer(
            options.empty_at + options.empty_for, bed.stand_in.change_settings, kwargs={"credits": credits_}
        )
        begun = time.monotonic()
        with Killer(bed, options.seed, tuple(options.kill_every), options.kill_for) as killer:
            empty.start()
            refill.start()
            with ThreadPoolExecutor(UPLOADERS) as uploaders:
                list(uploaders.map(lambda key: key.play(bed, begun), keys))
            refill.join()
            ended = await_end(lambda: bed.waiting == 0 and bed.intake_is_open, options.bound)
        seconds = time.monotonic() - begun
        again = judge_charges(bed.stand_in.charges(), bed.checkpoints(), killer.kills)
        state = bed.stand_in.state()
        figures = [
            *judge_keys(bed, keys),
            Figure("credits charged by the stand-in", state["credits_charged"]),
            Figure("charged again with a known result", again["known"], most=0),
            Figure("charged again at the same time", again["at the same time"], most=0),
            Figure("charged again without an explanation", again["unexplained"], most=0),
            Figure("charged again, the answer lost on purpose", again["answer lost"]),
            Figure("charged again, killed before it was known", again["killed"]),
            Figure("messages left in the queue", bed.waiting, most=0),
            Figure("intake left paused", int(not bed.intake_is_open), most=0),
        ]
        fired = dict(zip(("503", "429", "lost", "late", "cut short"), state["faults"]["fired"], strict=True))
        notes = [
            f"{'Ended' if ended else 'GIVEN UP'} after {seconds:.0f} s.",
            f"Environments killed: {killer.killed}, in {len(killer.kills)} kills.",
            f"Answers to removals: {state['answers'].get('removal', {})}; faults: {fired}.",
        ]
        return report(f"Chaos: {options.uploads} keys, seed {options.seed}", figures, bed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
