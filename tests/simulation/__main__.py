"""python -m tests.simulation prove [SEEDS] | world NAME | seed NUMBER | seeds FIRST LAST | replay TOKEN"""

import sys

from . import fuzz, history, prove, wiring


def main(arguments: list[str]) -> int:
    match arguments:
        case ["prove", *seeds]:
            return prove.prove(int(seeds[0]) if seeds else prove.SEEDS)
        case ["world", name]:
            found = prove.walk(name)
            walked = f"{found.states:,} states, {found.edges:,} edges, {found.seconds:.1f} s"
            print(f"{name}: {walked}: {found.violation or 'kept'}")
            if found.violation:
                print("\n".join(prove.tell(found)))
            return int(found.violation is not None)
        case ["seed", number]:
            print("\n".join(prove.tell_seed(int(number))))
        case ["seeds", first, last]:
            drawn, steps, broken = prove.draw(int(first), int(last))
            print(f"{drawn} seeds, {steps} steps, broken: {broken}")
            return int(bool(broken))
        case ["replay", token]:
            with wiring.simulated():
                violation, rows = history.replay(*fuzz.read_token(token))
            print("\n".join(history.table(rows)))
            print(violation or "Every promise is kept.")
            return int(violation is not None)
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
