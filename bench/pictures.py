"""The pictures of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import Peak, number

if TYPE_CHECKING:
    from bench.child import Handler, Log

COLOURS = {"ours": "#1b7f5c", "one after another": "#7fb8a4", "naive": "#c8743c"}
GOAL = "#444444"
TICKS = (0.3, 1, 3, 10, 30)
# The same bytes for the same figures.
mpl.rcParams["svg.hashsalt"] = "cutout"
mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False


def draw_invocations(
    path: Path,
    runs: "Mapping[tuple[Handler, float], Log]",
    latencies: Sequence[float],
    handlers: "Sequence[Handler]",
) -> None:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    walls, cpus = figure.subplots(1, 2)
    for row, handler in enumerate(handlers):
        logs = [runs[handler, latency] for latency in latencies]
        places = [place + (row - 1) * 0.27 for place in range(len(latencies))]
        for axes, values in ((walls, [log.wall for log in logs]), (cpus, [100 * log.cpu for log in logs])):
            bars = axes.bar(places, values, 0.25, label=handler, color=COLOURS[handler])
            axes.bar_label(bars, fmt=number, fontsize=8, padding=2)
    walls.set_title("Ten images: seconds on the clock", fontsize=10)
    walls.set_yscale("log")
    walls.margins(y=0.1)
    walls.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    walls.minorticks_off()
    cpus.set_title("One image: milliseconds of CPU", fontsize=10)
    for axes in (walls, cpus):
        axes.set_xticks(range(len(latencies)), [f"{latency:g} s" for latency in latencies])
        axes.set_xlabel("the API answers in")
    handles, labels = walls.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handlers), frameon=False)
    _save(figure, path)


def draw_memory(path: Path, peaks: "Sequence[Peak]", most_mb: float) -> None:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    cases = list(dict.fromkeys((peak.images, peak.megabytes) for peak in peaks))
    for row, handler in enumerate(("ours", "naive")):
        values = [peak.peak_mb for peak in peaks if peak.handler == handler]
        bars = axes.bar(
            [place + (row - 0.5) * 0.36 for place in range(len(cases))],
            values,
            0.34,
            label=handler,
            color=COLOURS[handler],
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    _draw_goal(axes, most_mb, "at most")
    axes.set_title("Peak memory of the function's process, MB", fontsize=10)
    axes.set_xticks(range(len(cases)), [f"{images} of {megabytes} MB" for images, megabytes in cases])
    axes.set_xlabel("results in a batch")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_throughput(path: Path, rows: Mapping[str, tuple[float, float]], goals: tuple[float, float]) -> None:
    """Of each row the permitted rate that was used, and the requests answered 429, as shares; `goals` in percent."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    used, refused = figure.subplots(1, 2, sharey=True)
    for axes, column, goal, title in (
        (used, 0, goals[0], "Permitted rate used, %"),
        (refused, 1, goals[1], "Requests answered 429, %"),
    ):
        bars = axes.barh(list(rows), [100 * row[column] for row in rows.values()], 0.6, color=COLOURS["ours"])
        axes.axvline(goal, color=GOAL, linewidth=1, linestyle="--", zorder=0)
        # The line of the goal is at the ends of the bars: it must not cross a figure.
        where = "center" if column == 0 else "edge"
        box = {"fc": "white", "ec": "none", "pad": 1}
        axes.bar_label(bars, fmt="%.3g", fontsize=8, label_type=where, padding=3, bbox=box)
        axes.set_title(f"{title} (goal: {'at most' if column else 'at least'} {goal:g})", fontsize=10)
    used.invert_yaxis()
    refused.margins(x=0.15)
    _save(figure, path)


def _draw_goal(axes: Axes, value: float, label: str) -> None:
    axes.axhline(value, color=GOAL, linewidth=1, linestyle="--")
    axes.annotate(
        f"{label} {value:g}", (1.01, value), xycoords=("axes fraction", "data"), ha="left", va="center", size=8
    )


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
