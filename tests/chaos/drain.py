"""A backlog that waits while the intake is closed: is it worked off as fast as the account's rate allows?"""

import sys
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.bed import ENABLED, Figure, await_end, deployed, parser, picture, report


def most_in_a_second(times: list[float]) -> int:
    times = sorted(times)
    return max(number - bisect_left(times, moment - 1) + 1 for number, moment in enumerate(times))


def main() -> int:
    options_of = parser(__doc__ or "", uploads=500)
    options_of.add_argument("--requests-per-second", type=int, default=5)
    options_of.add_argument("--latency", type=float, default=3, help="seconds in which the stand-in answers")
    options = options_of.parse_args()

    rate, count = options.requests_per_second, options.uploads
    with deployed({ENABLED: False}, parameters={"RequestsPerSecond": str(rate)}) as bed:
        bed.stand_in.change_settings(requests_per_second=rate, latency_seconds=options.latency)
        with ThreadPoolExecutor(8) as uploaders:
            list(uploaders.map(lambda n: bed.upload(f"{n}.jpg", picture(str(n))), range(count)))
        begun = time.monotonic()
        bed.open_intake()
        bound = 1.1 * count / rate
        await_end(lambda: len(bed.cutouts()) == count, 3 * bound)
        seconds = time.monotonic() - begun
        await_end(lambda: bed.waiting == 0, 30)
        removals = bed.stand_in.removals
        refused = sum(removal.status == 429 for removal in removals)
        figures = [
            Figure("uploads", count),
            Figure("cutouts", len(bed.cutouts()), least=count),
            Figure("seconds until the last cutout", round(seconds, 1), most=round(bound, 1)),
            Figure("requests", len(removals)),
            Figure("answered 429, in percent", round(100 * refused / len(removals), 2), most=1),
            Figure("most requests within a second", most_in_a_second([removal.came for removal in removals])),
            Figure("credits charged", len(bed.stand_in.charges), most=count),
            Figure("letters", len(bed.take_letters()), most=0),
            Figure("messages left in the queue", bed.waiting, most=0),
        ]
        notes = [f"The stand-in allows {rate} requests a second and answers in {options.latency:g} s."]
        return report(f"Drain: {count} uploads", figures, bed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
