"""The caps: how many credits may be spent in a day and in a month. A credit is reserved together with its call's slot.

The counts are attributes of the intake's item, so that one conditional write reserves both. Times are in seconds since
the epoch. A count is kept only where a cap is set.

    day_ends, month_ends        when the counted day and month end: midnights of the caps' time zone
    day_begins, month_begins    when they began: whoever has turned them, no slot for them begins earlier
    day_credits, month_credits  reserved in them: charged, on their way, or not known to be either
    day_extra, month_extra      allowed beyond the cap, by an operator, until the period ends
    day_reason, month_reason    why, in the operator's words
    day_change, month_change    a token of the operator's command: the SDK may repeat it

A call counts for the period in which its slot begins. What is known not to have been charged is given back.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple, Self

DAY, MONTH = "day", "month"
REASONS = {DAY: "daily_cap", MONTH: "monthly_cap"}  # of a pause
# No slot begins, and then no request is sent, in the last seconds of a day: it would arrive in the next one.
LAST_SLOT_SECONDS, LAST_REQUEST_SECONDS = 5.0, 2.0


class Period(NamedTuple):
    """What has been reserved in a day or a month; `ends` is None where nothing was counted yet."""

    ends: float | None = None
    credits: int = 0
    extra: int = 0
    reason: str = ""
    change: str = ""
    begins: float = 0.0

    def at(self, time: float) -> Self:
        """The same while it lasts; a new one, in which nothing is counted yet, once it has ended."""
        return self if self.ends is not None and time < self.ends else type(self)()


class Counts(NamedTuple):
    day: Period = Period()
    month: Period = Period()

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        def period(name: str) -> Period:
            if f"{name}_ends" not in item:
                return Period()
            ends, credits_, extra, begins = (
                float(item.get(f"{name}_{of}", {}).get("N", 0)) for of in ("ends", "credits", "extra", "begins")
            )
            reason, change = (item.get(f"{name}_{of}", {}).get("S", "") for of in ("reason", "change"))
            return Period(ends, int(credits_), int(extra), reason, change, begins)

        return cls(period(DAY), period(MONTH))


class Reserved(NamedTuple):
    """The periods in which a credit is reserved, by their ends."""

    day_ends: float
    month_ends: float


class Part(NamedTuple):
    """What an update of the item says besides, to reserve credits for slots of which the first begins in a time.

    `begins` and `last` bound that time; no request may be sent from `ends` on.
    """

    begins: float = 0.0
    last: float = float("inf")
    ends: float = float("inf")
    sets: str = ""
    removes: str = ""
    condition: str = ""
    values: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    reserved: Reserved | None = None


class Caps:
    """`daily` and `monthly` are in credits, None without a cap; `zone` is a name of IANA's database.

    Raises ValueError for a zone that is not known.
    """

    def __init__(self, daily: int | None, monthly: int | None, zone: str) -> None:
        self.daily = daily
        self.monthly = monthly
        self.zone = zone
        self._zone = _read_zone(zone)

    @property
    def are_set(self) -> bool:
        return self.daily is not None or self.monthly is not None

    @property
    def least(self) -> float:
        """The lower one: so many credits a new period has at least."""
        return min((cap for cap in (self.daily, self.monthly) if cap is not None), default=float("inf"))

    def part(self, counts: Counts, at: float, slots: int, seconds: float = 0.0) -> Part:
        """Of an update that reserves slots, the first at `at` or later, and the last one `seconds` after that.

        `counts` are those that were seen last: it fails where a period has turned since, or too few credits are left.
        A new period must have credits for them all.
        """
        if not self.are_set:
            return Part()
        begins, reserved = 0.0, self._ends(counts, at)
        if at > min(reserved) - LAST_SLOT_SECONDS - seconds:
            begins = at = min(reserved)
            reserved = self._ends(counts, at)
        sets: list[str] = []
        removes: list[str] = []
        conditions: list[str] = []
        values = {":credits": slots}
        for name, cap, period in self._all(counts):
            values[f":{name}_ends"] = round(getattr(reserved, f"{name}_ends"))
            if period.at(at).ends is not None:
                begins = max(begins, period.begins)
                sets.append(f"{name}_credits = {name}_credits + :credits")
                conditions.append(f"{name}_ends = :{name}_ends")
                if cap is not None:
                    conditions.append(f"{name}_credits <= :{name}_room")
                    values[f":{name}_room"] = cap + period.extra - slots
                continue
            sets.append(f"{name}_ends = :{name}_ends, {name}_credits = :credits")
            removes += [f"{name}_{of}" for of in ("extra", "reason", "change")]
            if period.ends is None:
                conditions.append(f"attribute_not_exists({name}_ends)")
            else:
                begins = max(begins, period.ends)
                sets.append(f"{name}_begins = :{name}_ended")
                conditions.append(f"{name}_ends = :{name}_ended")
                values[f":{name}_ended"] = round(period.ends)
        return Part(
            begins,
            last=min(reserved) - LAST_SLOT_SECONDS - seconds,
            ends=min(reserved) - LAST_REQUEST_SECONDS,
            sets=", ".join(["", *sets]),
            removes=f" REMOVE {', '.join(removes)}" if removes else "",
            condition=" AND ".join(["", *conditions]),
            values={name: {"N": str(value)} for name, value in values.items()},
            reserved=reserved,
        )

    def shares(self, counts: Counts, at: float) -> dict[str, float]:
        """How much of each cap is reserved, in percent of what may be spent in its period, by the period's name."""
        return {
            name: 100 * now.credits / (cap + now.extra)
            for name, cap, now in ((name, cap, period.at(at)) for name, cap, period in self._all(counts))
            if cap is not None
        }

    def reached(self, counts: Counts, at: float, slots: int = 1) -> str | None:
        """Which cap leaves too few credits for slots at `at`; None if none does."""
        for name, cap, period in self._all(counts):
            now = period.at(at)
            if cap is not None and slots > cap + now.extra - now.credits:
                return REASONS[name]
        return None

    def is_reached(self, counts: Counts, reason: str) -> tuple[str, Mapping[str, Mapping[str, str]]]:
        """Condition of an update, with its values: the cap is reached, as it was when `counts` were seen."""
        ((name, cap, period),) = (each for each in self._all(counts) if REASONS[each[0]] == reason)
        no_extra = f"attribute_not_exists({name}_extra) AND " if not period.extra else f"{name}_extra = :extra AND "
        values = {":ends": round(period.ends or 0), ":cap": (cap or 0) + period.extra}
        if period.extra:
            values[":extra"] = period.extra
        condition = f"{no_extra}{name}_ends = :ends AND {name}_credits >= :cap"
        return condition, {name: {"N": str(value)} for name, value in values.items()}

    def allowance(
        self, counts: Counts, at: float, name: str, credits_: int, reason: str, token: str
    ) -> tuple[str, str, dict[str, Any]]:
        """Expression, condition and values of an update that allows credits beyond a cap until its period ends.

        `name` is DAY or MONTH; `token` must be new.
        """
        period = counts.day if name == DAY else counts.month
        now = period.at(at)
        sets = f"SET {name}_ends = :ends, {name}_extra = :extra, {name}_reason = :reason, {name}_change = :change"
        values = {
            ":ends": {"N": str(round(now.ends or self.end_of(name, at)))},
            ":extra": {"N": str(now.extra + credits_)},
            ":reason": {"S": reason},
            ":change": {"S": token},
        }
        if now.ends is not None and now.change:
            condition = f"{name}_ends = :ends AND {name}_change = :before"
            values[":before"] = {"S": now.change}
        elif now.ends is not None:
            condition = f"{name}_ends = :ends AND attribute_not_exists({name}_change)"
        else:  # it begins
            sets += f", {name}_credits = :none"
            condition = f"attribute_not_exists({name}_ends)"
            values[":none"] = {"N": "0"}
            if period.ends is not None:
                sets += f", {name}_begins = :ended"
                condition = f"{name}_ends = :ended"
                values[":ended"] = {"N": str(round(period.ends))}
        return sets, condition, values

    def _all(self, counts: Counts) -> Iterator[tuple[str, int | None, Period]]:
        yield DAY, self.daily, counts.day
        yield MONTH, self.monthly, counts.month

    def _ends(self, counts: Counts, at: float) -> Reserved:
        """When the periods of a time end. Those that are counted end when they were to, whatever the zone is now."""
        day, month = (period.at(at).ends for period in counts)
        return Reserved(day or self.end_of(DAY, at), month or self.end_of(MONTH, at))

    def end_of(self, name: str, at: float) -> float:
        """The midnight at which the day or the month of a time ends."""
        today = self.local(at).date()
        next_ = today + timedelta(days=1) if name == DAY else (today.replace(day=1) + timedelta(days=31)).replace(day=1)
        return datetime(next_.year, next_.month, next_.day, tzinfo=self._zone).timestamp()

    def local(self, at: float) -> datetime:
        """A time, on the clocks of the caps' zone."""
        return datetime.fromtimestamp(at, self._zone)


def _read_zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415  # only where it is wanted: it takes a while

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone") from None
