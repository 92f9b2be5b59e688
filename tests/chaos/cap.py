"""A cap on credits under every failure, at a midnight that is a change to daylight saving: is it ever exceeded?

The stand-in counts for itself what it charges, and when. What the cap leaves waits, and ends once more is allowed.
"""

import itertools
import math
import struct
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from cutout.local.lambda_runtime import event_source_mapping
from testbed.harness import BACKOFF, REOPEN, TIMEOUT, VISIBILITY, await_end, deployed, picture
from testbed.report import Figure, parser, report
from tests.chaos.chaos import AWS_FAULTS, DELIVERY_FAULTS, FAULTS, FUNCTION_SECONDS, MAPPING_SECONDS, SPEED, Killer
from tests.chaos.judgement import ERRORS

ENVIRONMENTS = 16  # at the same time
ZONE = "Test/Midnight"
DAY_SECONDS = 24 * 3600
SAVING_SECONDS = 3600
VARIABLES = "Resources.{}.Properties.Environment.Variables.PYTHONTZPATH"
KILLS = (20.0, 30.0)  # seconds between two, each of which stops as many as 160 uploads
USED = 99.0  # percent of the cap, where no environment is killed
NOT_GIVEN_BACK = "A credit of the cap could not be given back"
FAILURES = ("service_unavailable", "storage_unavailable", "result_unavailable", "unexpected_error")


def write_zone(folder: Path, midnight: int) -> None:
    """A time zone whose clocks go from midnight to one o'clock at this time, in seconds since the epoch.

    https://www.rfc-editor.org/rfc/rfc8536 (version 1 of the format)
    """
    offset = -(midnight % DAY_SECONDS)
    offset += DAY_SECONDS if offset < -DAY_SECONDS / 2 else 0
    types = struct.pack(">lBB", offset, 0, 0) + struct.pack(">lBB", offset + SAVING_SECONDS, 1, 4)
    names = b"STD\0DST\0"
    header = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 1, 2, len(names))
    path = folder / ZONE
    path.parent.mkdir()
    path.write_bytes(header + struct.pack(">lB", midnight, 1) + types + names)


def main() -> int:
    options_of = parser(__doc__ or "", uploads=600)
    options_of.add_argument("--seed", type=int, default=1)
    options_of.add_argument("--cap", type=int, default=200, help="credits a day")
    # A credit that is given back at the cap is used after a pause, a reopening and a full fleet.
    options_of.add_argument("--midnight", type=float, default=300, help="seconds until midnight")
    options_of.add_argument("--kill", action="store_true", help="environments are killed as well")
    options_of.add_argument("--bound", type=float, default=400, help="seconds after which the run is given up")
    options = options_of.parse_args()

    midnight = math.ceil(time.time() + options.midnight)
    count, cap = options.uploads, options.cap
    parameters = {
        "RequestsPerSecond": "50",
        "MaximumConcurrency": str(ENVIRONMENTS),
        "DailyCredits": str(cap),
        "CapTimeZone": ZONE,
    }
    with (
        tempfile.TemporaryDirectory(prefix="cutout-zone-") as folder,
        mock.patch.object(event_source_mapping, "MOST_AT_ONCE", ENVIRONMENTS),
    ):
        write_zone(Path(folder), midnight)
        changes: dict[str, object] = {TIMEOUT: FUNCTION_SECONDS, VISIBILITY: 15, BACKOFF: 2, REOPEN: 300 // SPEED}
        changes |= {VARIABLES.format(name): folder for name in ("RemoveBackground", "ReopenIntake")}
        with deployed(changes, speed=SPEED, mapping_seconds=MAPPING_SECONDS, parameters=parameters) as testbed:
            testbed.stand_in.set_faults(*FAULTS.values(), seed=options.seed)
            testbed.cloud.set_faults(*itertools.chain(*AWS_FAULTS.values()), seed=options.seed)
            testbed.cloud.set_delivery_faults(*DELIVERY_FAULTS, seed=options.seed)
            begun = time.monotonic()
            killer = Killer(testbed, options.seed, KILLS, options.midnight) if options.kill else nullcontext()
            with killer:
                with ThreadPoolExecutor(8) as uploaders:
                    list(uploaders.map(lambda n: testbed.upload(f"{n}.jpg", picture(str(n))), range(count)))
                await_end(lambda: time.time() > midnight, options.bound)
                in_vain = testbed.times_logged(NOT_GIVEN_BACK)
                held = await_end(lambda: testbed.day.ends != midnight and testbed.day.credits >= cap, options.bound)
            waiting, allowed = testbed.waiting, time.time()
            testbed.allow(3 * count)
            ended = await_end(lambda: testbed.waiting == 0 and testbed.intake_is_open, options.bound)
            charges = testbed.stand_in.charges()
            today = sum(charge.came < midnight for charge in charges)
            tomorrow = sum(midnight <= charge.came < allowed for charge in charges)
            # The credit of an answer that failed stays reserved.
            unknown = sum(
                r.came < midnight and not r.input_sha256 and r.status >= ERRORS for r in testbed.stand_in.removals()
            )
            used = None if options.kill else USED
            letters = {name.replace(".jpg", ".png"): code for name, _, code in testbed.take_letters()}
            cutouts = set(testbed.cutouts())
            unexplained = sum(code not in FAILURES for code in letters.values())
            figures = [
                Figure("uploads", count),
                Figure("charged before midnight, by the stand-in", today, most=cap),
                Figure("charged after midnight, before more was allowed", tomorrow, most=cap),
                Figure("failed before midnight: whether it is charged is not known", unknown),
                Figure("of the first day's cap used for either, in percent", 100 * (today + unknown) / cap, least=used),
                Figure("reserved in vain before midnight: DynamoDB did not take them back", in_vain),
                Figure("messages that waited at the second day's cap", waiting if held else 0, least=1),
                Figure("with a cutout", len(cutouts)),
                Figure("with a letter", len(letters)),
                Figure("with a letter that no failure explains", unexplained, most=0),
                Figure("with both", len(cutouts & letters.keys()), most=0),
                Figure("with neither", count - len(cutouts | letters.keys()), most=0),
                Figure("messages left in the queue", testbed.waiting, most=0),
            ]
            notes = [
                f"{'Ended' if ended else 'GIVEN UP'} {time.monotonic() - begun:.0f} s after the first upload.",
                f"{ENVIRONMENTS} batches at the same time; environments {'are' if options.kill else 'are not'} killed.",
            ]
            return report(
                f"A cap of {cap} credits a day: {count} uploads", figures, testbed, notes, as_json=options.json
            )


if __name__ == "__main__":
    sys.exit(main())
