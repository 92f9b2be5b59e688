"""What became of the uploads of a chaos run: is anything lost, paid again, stale, or of the wrong image?

A second charge for an input is excused if an earlier answer was never known: the stand-in lost it, delayed it past the
function's timeout or sent it byte by byte, or the environment was killed before the result_url was in the ledger. A
result_url is known once it is in the ledger.
"""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from testbed.harness import Testbed
from testbed.report import Figure
from testbed.witness import Removal

# Between an answer that was sent and its result_url in the ledger, on a busy machine, where the SDK repeats the update.
CHECKPOINT_SECONDS = 6.0
# After two calls that were, or may have been, charged in vain, an upload gets its letter: no third call is made.
MOST_CHARGES_IN_VAIN = 2
ATTEMPTS = 5
ERRORS = 500


class Played(Protocol):
    """A key of the input bucket and what its owner did to it."""

    @property
    def name(self) -> str: ...
    @property
    def fate(self) -> str: ...
    @property
    def bodies(self) -> list[bytes]: ...
    @property
    def versions(self) -> list[str]: ...
    @property
    def code(self) -> str | None: ...  # of the letter that it deserves


def excuse(
    earlier: Removal, later: Removal, checkpoints: Mapping[str, float], kills: Sequence[tuple[float, float]]
) -> str:
    """Why an input was charged for again."""
    if earlier.result_url and earlier.result_url in checkpoints:
        return "known" if checkpoints[earlier.result_url] <= later.came else "at the same time"
    if earlier.answer_is_lost:
        return "answer lost"
    ends = earlier.answered + CHECKPOINT_SECONDS
    return "killed" if any(begun <= ends and ended >= earlier.came for begun, ended in kills) else "unexplained"


def judge_charges(
    charges: Sequence[Removal], checkpoints: Mapping[str, float], kills: Sequence[tuple[float, float]]
) -> Counter[str]:
    """The charges that were not the first for their input, by the worst verdict on each."""
    worst_first = ["known", "at the same time", "unexplained", "killed", "answer lost"]
    found: Counter[str] = Counter()
    before: dict[str | None, list[Removal]] = defaultdict(list)
    for charge in charges:
        earlier = before[charge.input_sha256]
        if earlier:
            found[min((excuse(e, charge, checkpoints, kills) for e in earlier), key=worst_first.index)] += 1
        earlier.append(charge)
    return found


def is_in_vain(code: str, asked: Sequence[Removal]) -> bool:
    """Whether the calls for a good image explain its letter.

    `unexpected_error` says that the function was killed each time, which leaves no trace at the stand-in.
    """
    lost = any(removal.answer_is_lost for removal in asked)
    failed = sum(removal.status >= ERRORS for removal in asked)
    return code == "unexpected_error" or (code == "service_unavailable" and (lost or failed >= ATTEMPTS))


def judge_keys(testbed: Testbed, keys: Sequence[Played]) -> list[Figure]:
    """What became of each upload."""
    made_of: dict[str | None, set[str | None]] = defaultdict(set)
    charges: Counter[str | None] = Counter()
    for charge in testbed.stand_in.charges():
        made_of[charge.result_sha256].add(charge.input_sha256)
        charges[charge.input_sha256] += 1
    asked: dict[str, list[Removal]] = defaultdict(list)
    for removal in testbed.stand_in.removals():
        asked[removal.source.rpartition("/")[2]].append(removal)
    cutouts = {
        name: hashlib.sha256(testbed.s3.get_object(Bucket=testbed.output, Key=name)["Body"].read()).hexdigest()
        for name in testbed.cutouts()
    }
    letters = testbed.take_letters()
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
        if has_letter and (code := codes[key.name, key.versions[-1]]) != key.code:
            ends["twice in vain" if is_in_vain(code, asked[key.name]) else "undeserved"] += 1
        if has_letter and charges[inputs[-1]] > MOST_CHARGES_IN_VAIN:
            ends["charged on"] += 1
        if key.fate == "deleted":
            ends["deleted"] += 1
        elif cutout or has_letter:
            ends["cutout" if cutout else "letter"] += 1
        else:
            ends["unaccounted"] += 1
            of_key = {version: code for (name, version), code in codes.items() if name == key.name}
            print(
                f"unaccounted for: {key.name}, {key.fate}, versions {key.versions}, letters {of_key}", file=sys.stderr
            )
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
        Figure("letters after two calls in vain", ends["twice in vain"], most=max(2, len(keys) // 100)),
        Figure("letters after more than two charges", ends["charged on"], most=0),
        Figure("stale cutouts", ends["stale"], most=0),
        Figure("images of the wrong source", ends["wrong source"], most=0),
    ]
