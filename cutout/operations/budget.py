"""The caps of a deployed stack: what is spent and left, what a number of uploads will meet, and what a credit costs."""

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from cutout.failures import Failure, describe
from cutout.operations.deployment import Deployment
from remove_background.caps import DAY, MONTH, Caps, Counts
from remove_background.config import ConfigError, read_caps
from remove_background.intake import IntakeItem


@dataclass(frozen=True, slots=True)
class Spending:
    """One period. `reserved` are the credits that are charged, on their way, or not known to be either.

    `extra` is what an operator allowed beyond the cap until the period `ends`, in seconds since the epoch, and `reason`
    why. Without a `cap` (None), what is reserved is counted as long as the other period has one.
    """

    name: str  # day or month
    cap: int | None
    reserved: int
    extra: int
    reason: str
    ends: float

    @property
    def left(self) -> int | None:
        return None if self.cap is None else max(0, self.cap + self.extra - self.reserved)


@dataclass(frozen=True, slots=True)
class Budget:
    """Both periods as they are `now`, in the caps' time zone."""

    caps: Caps
    day: Spending
    month: Spending
    now: float

    @property
    def left(self) -> int | None:
        """Credits that may be spent now; None without a cap."""
        return min((each.left for each in (self.day, self.month) if each.left is not None), default=None)

    @property
    def reached(self) -> "tuple[Spending, ...]":
        """The periods of which nothing is left."""
        return tuple(each for each in (self.day, self.month) if each.left == 0)

    @property
    def opens(self) -> float | None:
        """When credits are left again, if no more are allowed; None if some are left now."""
        return max((each.ends for each in self.reached), default=None)

    def plan(self, credits_: int) -> "list[Portion]":
        """When so many credits can be spent, if nothing else spends any: a portion for each day, at most MOST_DAYS.

        What takes longer is not among them.
        """
        portions: list[Portion] = []
        day, month, begins, left = self.day, self.month, None, credits_
        while left and len(portions) < MOST_DAYS:
            now = min([left, *(each.left for each in (day, month) if each.left is not None)])
            if now:
                portions.append(Portion(now, begins))
                left -= now
            begins = month.ends if self.caps.daily is None else day.ends  # the next day may bring no more
            month = (
                self._new(MONTH, begins)
                if begins >= month.ends
                else Spending(MONTH, month.cap, month.reserved + now, month.extra, month.reason, month.ends)
            )
            day = self._new(DAY, begins)
        return portions

    def _new(self, name: str, at: float) -> Spending:
        cap = self.caps.daily if name == DAY else self.caps.monthly
        return Spending(name, cap, 0, 0, "", self.caps.end_of(name, at))


class Portion(NamedTuple):
    """Credits that can be spent from a time on, in seconds since the epoch; None is now."""

    credits: int
    begins: float | None


class Price(NamedTuple):
    """What the user pays for a credit; `currency` as ISO 4217 has it."""

    amount: Decimal
    currency: str


MOST_DAYS = 31


def read(deployed: Deployment) -> Budget | None:
    """None without a cap. Raises what boto3 raises, and Failure."""
    caps = read_settings(deployed)
    return make(caps, _item(deployed).read().counts, time.time()) if caps.are_set else None


def look(deployed: Deployment) -> Budget | str | None:
    """The same; or a sentence that says why it is not known, where nothing else depends on it."""
    try:
        return read(deployed)
    except (BotoCoreError, ClientError, Failure) as error:
        return describe(error)


def read_settings(deployed: Deployment) -> Caps:
    """Raises what boto3 raises, and Failure."""
    try:
        return read_caps(deployed.settings)
    except ConfigError as error:
        raise Failure(f"The caps of the stack cannot be read. {error}") from None


def make(caps: Caps, counts: Counts, now: float) -> Budget:
    day, month = (
        Spending(
            name,
            caps.daily if name == DAY else caps.monthly,
            period.at(now).credits,
            period.at(now).extra,
            period.at(now).reason,
            period.at(now).ends or caps.end_of(name, now),
        )
        for name, period in zip((DAY, MONTH), counts, strict=True)
    )
    return Budget(caps, day, month, now)


def allow(deployed: Deployment, name: str, credits_: int, reason: str, *, until: float | None = None) -> Budget:
    """Allow credits beyond the cap of the day or the month until it ends. Raises what boto3 raises, and Failure.

    `until` is that end as it was agreed to: once it is over, nothing is allowed.
    """
    caps = read_settings(deployed)
    if until is not None and time.time() >= until:
        raise Failure(f"The {name} has ended meanwhile: nothing was done.")
    counts = _item(deployed).allow(caps, name, credits_, reason, until)
    if counts is None:
        raise Failure(
            f"The {name} has ended meanwhile, or somebody else has allowed more. `cutout cap` shows what was recorded."
        )
    return make(caps, counts, time.time())


def price(deployed: Deployment) -> Price | None:
    """The stack's CreditPrice; None where it is not set."""
    amount, _, currency = deployed.settings.get("CREDIT_PRICE", "").partition(" ")
    return Price(Decimal(amount), currency) if currency else None


def _item(deployed: Deployment) -> IntakeItem:
    return IntakeItem(deployed.dynamodb, deployed.settings["LEDGER_TABLE"])
