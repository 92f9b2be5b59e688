"""Uploads under every failure at once: is anything lost, paid twice, stale, or of the wrong image?

The local cloud is as unreliable as AWS: answers are lost after their calls took effect, and the SDK repeats the calls;
services are busy, receives never reach the function, messages are delivered twice, the mapping takes time to change,
and peers send byte by byte.
"""

import itertools
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cutout.local.aws.middleware import AwsFault
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault
from cutout.local.pixelcut.faults import Rule
from testbed.harness import BACKOFF, REOPEN, TIMEOUT, VISIBILITY, Testbed, await_end, deployed, picture
from testbed.report import Figure, parser, report
from testbed.witness import PAST_PATIENCE_SECONDS
from tests.chaos.judgement import judge_charges, judge_keys

FUNCTION_SECONDS = 15
# How long the event source mapping is Disabling or Enabling.
MAPPING_SECONDS = 2.0
UPLOADERS = 16
SPEED = 150  # speeds up the schedule, and so the waits of ReopenIntake
SLOW: dict[str, Any] = {"on": "removal", "after": True, "rate": 0.003}
FAULTS = {
    "503": Rule(on="removal", rate=0.10, status=503),
    "429": Rule(on="removal", rate=0.05, status=429),
    "lost": Rule(on="removal", rate=0.02, after=True, drop=True),
    "lost after the headers": Rule(on="removal", rate=0.005, after=True, cut=0),
    "late": Rule(on="removal", rate=0.01, after=True, delay_seconds=PAST_PATIENCE_SECONDS),
    "slow headers": Rule(**SLOW, header_bytes_per_second=3),
    "slow": Rule(**SLOW, bytes_per_second=3),
    "stalled": Rule(**SLOW, stall_after=0),
    "result cut short": Rule(on="download", rate=0.03, cut=0.5),
    "result lost after the headers": Rule(on="download", rate=0.01, cut=0),
    "slow result headers": Rule(on="download", rate=0.003, header_bytes_per_second=3),
    "slow result": Rule(on="download", rate=0.003, bytes_per_second=50),
    "stalled result": Rule(on="download", rate=0.003, stall_after=100),
}
AWS_FAULTS = {
    "lost": [
        AwsFault(action, times=None, rate=0.01, after=True, drop=True)
        for action in ("UpdateItem", "PutObject", "SendMessage", "UpdateEventSourceMapping")
    ],
    "503": [
        AwsFault(action, times=None, rate=0.01)
        for action in ("HeadObject", "GetObject", "GetItem", "UpdateItem", "PutObject", "SendMessage")
    ],
    "busy": [
        AwsFault("UpdateItem", times=None, rate=0.01, status=400, code="ProvisionedThroughputExceededException"),
        AwsFault("PutObject", times=None, rate=0.01, status=409, code="ConditionalRequestConflict"),
        AwsFault("UpdateEventSourceMapping", times=None, rate=0.2, status=400, code="ResourceInUseException"),
    ],
}
DELIVERY_FAULTS = (
    DeliveryFault("throttled", rate=0.03),
    DeliveryFault("repeated", rate=0.02, delay_seconds=3),
)
BAD = {
    "unsupported_image_format": lambda seed: f"This is no image, {seed}. ".encode() * 50,
    "malformed_image": lambda seed: picture(seed)[:400],
    "resolution_too_low": lambda seed: picture(seed, height=63),
}

# What the service always answers for a certain image, and the code of the letter that follows.
FORBIDDEN, RENAMED = "forbidden", "unexpected_answer"
DOOM: dict[str, dict[str, Any]] = {
    FORBIDDEN: {"status": 403, "body": "<html>403 Forbidden</html>", "headers": {"Content-Type": "text/html"}},
    RENAMED: {"status": 200, "body": '{"resultUrl": "https://example.invalid/a.png"}', "after": True},
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

    def play(self, testbed: Testbed, begun: float) -> None:
        rest = threading.Event()
        rest.wait(max(0, begun + self.starts - time.monotonic()))
        for number, body in enumerate(self.bodies):
            if number:
                rest.wait(self.pause)
            self.versions.append(testbed.upload(self.name, body))
        if self.fate == "event twice":
            rest.wait(self.pause)
            body_of_event = testbed.notifications[self.name, self.versions[-1]]
            testbed.sqs.send_message(QueueUrl=testbed.outputs["UploadQueueUrl"], MessageBody=body_of_event)
        if self.fate == "deleted":
            rest.wait(self.pause)
            testbed.s3.delete_object(Bucket=testbed.input, Key=self.name)


def plan(count: int, seed: int, seconds: float) -> list[Key]:
    """10 % duplicates (an event sent twice, the same bytes twice), 5 % overwritten, 5 % deleted, 5 % bad files.

    In addition, 1 % that the service forbids, and 0.5 % whose answer has no URL.
    """
    draw = random.Random(seed)
    shares = {"event twice": 0.05, "bytes twice": 0.05, "overwritten": 0.05, "deleted": 0.05, "bad": 0.05}
    shares |= {FORBIDDEN: 0.01, RENAMED: 0.005}
    fates = [fate for fate, share in shares.items() for _ in range(max(1, round(count * share)))]
    fates += ["plain"] * (count - len(fates))
    draw.shuffle(fates)
    keys = []
    for number, fate in enumerate(fates):
        name = f"{seed}-{number:05}"
        first, second = picture(f"{name}-1"), picture(f"{name}-2")
        bodies = {"bytes twice": [first, first], "overwritten": [first, second]}.get(fate, [first])
        code = fate if fate in DOOM else None
        if fate == "bad":
            code = draw.choice(list(BAD))
            bodies = [BAD[code](name)]
        keys.append(Key(f"{name}.jpg", fate, seconds * number / count, draw.uniform(0.05, 2), bodies, code))
    return keys


class Killer:
    """Sends SIGKILL to every execution environment, again and again, for some seconds of its block."""

    def __init__(self, testbed: Testbed, seed: int, limits: tuple[float, float], seconds: float) -> None:
        """`limits`: the shortest and the longest pause between two kills, in seconds."""
        self._bed, self._draw, self._limits = testbed, random.Random(seed), limits
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

    changes = {TIMEOUT: FUNCTION_SECONDS, VISIBILITY: 15, BACKOFF: 2, REOPEN: 300 // SPEED}
    parameters = {"RequestsPerSecond": "50", "MaximumConcurrency": "4"}
    keys = plan(options.uploads, options.seed, options.seconds)
    with deployed(changes, speed=SPEED, mapping_seconds=MAPPING_SECONDS, parameters=parameters) as testbed:
        credits_ = testbed.stand_in.state()["settings"]["credits"]
        doomed = [Rule(on="removal", source=f"/{key.name}", **DOOM[key.fate]) for key in keys if key.fate in DOOM]
        testbed.stand_in.set_faults(*doomed, *FAULTS.values(), seed=options.seed)
        testbed.cloud.set_faults(*itertools.chain(*AWS_FAULTS.values()), seed=options.seed)
        testbed.cloud.set_delivery_faults(*DELIVERY_FAULTS, seed=options.seed)
        empty = threading.Timer(options.empty_at, testbed.stand_in.change_settings, kwargs={"credits": 0})
        refill = threading.Timer(
            options.empty_at + options.empty_for, testbed.stand_in.change_settings, kwargs={"credits": credits_}
        )
        begun = time.monotonic()
        with Killer(testbed, options.seed, tuple(options.kill_every), options.kill_for) as killer:
            empty.start()
            refill.start()
            with ThreadPoolExecutor(UPLOADERS) as uploaders:
                list(uploaders.map(lambda key: key.play(testbed, begun), keys))
            refill.join()
            ended = await_end(lambda: testbed.waiting == 0 and testbed.intake_is_open, options.bound)
        seconds = time.monotonic() - begun
        again = judge_charges(testbed.stand_in.charges(), testbed.checkpoints(), killer.kills)
        state = testbed.stand_in.state()
        figures = [
            *judge_keys(testbed, keys),
            Figure("credits charged by the stand-in", state["credits_charged"]),
            Figure("charged again with a known result", again["known"], most=0),
            Figure("charged again at the same time", again["at the same time"], most=0),
            Figure("charged again without an explanation", again["unexplained"], most=0),
            Figure("charged again, the answer lost on purpose", again["answer lost"]),
            Figure("charged again, killed before it was known", again["killed"]),
            Figure("messages left in the queue", testbed.waiting, most=0),
            Figure("intake left paused", int(not testbed.intake_is_open), most=0),
        ]
        fired = dict(zip(FAULTS, state["faults"]["fired"][len(doomed) :], strict=True))
        aws = iter(testbed.cloud.faults_fired())
        aws_fired = {name: sum(itertools.islice(aws, len(faults))) for name, faults in AWS_FAULTS.items()}
        throttled, repeated = testbed.cloud.delivery_faults_fired()
        notes = [
            f"{'Ended' if ended else 'GIVEN UP'} after {seconds:.0f} s.",
            f"Environments killed: {killer.killed}, in {len(killer.kills)} kills.",
            f"Answers to removals: {state['answers'].get('removal', {})}; faults: {fired}.",
            f"Faults of calls to AWS: {aws_fired}; batches throttled: {throttled}; messages repeated: {repeated}.",
            f"The event source mapping takes {MAPPING_SECONDS:g} s to be switched.",
        ]
        return report(
            f"Chaos: {options.uploads} keys, seed {options.seed}", figures, testbed, notes, as_json=options.json
        )


if __name__ == "__main__":
    sys.exit(main())
