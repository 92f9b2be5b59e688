"""The service is down for a day: do the uploads wait without cost, and continue by themselves?"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from cutout.local.pixelcut.faults import Rule
from testbed.harness import BACKOFF, REOPEN, await_end, deployed, picture
from testbed.report import Figure, parser, report

# The circuit breaker's ten failures in a row, and as many again that run beside them: two batches of ten.
A_HANDFUL = 30


def main() -> int:
    options_of = parser(__doc__ or "", uploads=200)
    options_of.add_argument("--hours", type=float, default=24, help="how long the service is down")
    options_of.add_argument(
        "--speed", type=float, default=1440, help="how many times as fast as real the schedule runs"
    )
    options_of.add_argument("--drop", action="store_true", help="connections are dropped, instead of answers of 503")
    options = options_of.parse_args()

    count = options.uploads
    down = [Rule(on=on, drop=True) if options.drop else Rule(on=on, status=503) for on in ("removal", "credits")]
    with deployed({BACKOFF: 1, REOPEN: 1}, speed=options.speed, parameters={}) as testbed:
        testbed.stand_in.set_faults(*down)
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as uploaders:
            list(uploaders.map(lambda n: testbed.upload(f"{n}.jpg", picture(str(n))), range(count)))
        paused = await_end(lambda: testbed.intake_is_paused, 30)
        Event().wait(max(0, begun + options.hours * 3600 / options.speed - time.monotonic()))
        requests = len(testbed.stand_in.removals())
        probes = sum(testbed.stand_in.state()["answers"].get("credits", {}).values())
        testbed.stand_in.set_faults()
        ended = await_end(lambda: testbed.waiting == 0 and testbed.intake_is_open, 180)
        figures = [
            Figure("uploads", count),
            Figure("intake paused", int(paused), least=1),
            Figure("requests for a removal while down", requests, most=A_HANDFUL),
            Figure("probes while down", probes, least=1),
            Figure("cutouts afterwards", len(testbed.cutouts()), least=count),
            Figure("credits charged", testbed.stand_in.credits_charged(), most=count),
            Figure("letters", len(testbed.take_letters()), most=0),
            Figure("messages left in the queue", testbed.waiting, most=0),
            Figure("intake open afterwards", int(testbed.intake_is_open), least=1),
        ]
        how = "dropped connections" if options.drop else "answers of 503"
        notes = [
            f"Down for {options.hours:g} hours, as {options.hours * 3600 / options.speed:.0f} s, by {how}.",
            f"{'Ended' if ended else 'GIVEN UP'} {time.monotonic() - begun:.0f} s after the first upload.",
        ]
        return report(f"Outage: {count} uploads", figures, testbed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
