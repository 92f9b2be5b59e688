"""A backlog that waits while the intake is closed: is it worked off as fast as the account's rate allows?"""

import sys

from testbed.backlog import backlog, drain
from testbed.report import Figure, parser, report


def main() -> int:
    options_of = parser(__doc__ or "", uploads=500)
    options_of.add_argument("--requests-per-second", type=int, default=5)
    options_of.add_argument("--latency", type=float, default=3, help="seconds in which the stand-in answers")
    options = options_of.parse_args()

    rate, count = options.requests_per_second, options.uploads
    with backlog(count, rate=rate, latency=options.latency) as testbed:
        bound = 1.1 * count / rate
        drained = drain(testbed, count, bound)
        figures = [
            Figure("uploads", count),
            Figure("cutouts", drained.cutouts, least=count),
            Figure("seconds until the last cutout", round(drained.seconds, 1), most=round(bound, 1)),
            Figure("requests", drained.requests),
            Figure("answered 429, in percent", round(100 * drained.refused / drained.requests, 2), most=1),
            Figure("most requests within a second", drained.most_in_a_second),
            Figure("credits charged", testbed.stand_in.credits_charged(), most=count),
            Figure("letters", len(testbed.take_letters()), most=0),
            Figure("messages left in the queue", testbed.waiting, most=0),
        ]
        notes = [f"The stand-in allows {rate} requests a second and answers in {options.latency:g} s."]
        return report(f"Drain: {count} uploads", figures, testbed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
