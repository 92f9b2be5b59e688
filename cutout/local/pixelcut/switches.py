"""The page of the stand-in's switches: its answers so far, its faults, and buttons to change them."""

import json
from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import Any

from cutout.local.pixelcut.faults import Rule

# The faults that have a button. Other rules can be sent as JSON.
FAULTS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "unavailable": ("Answer 503 instead of a cutout", {"on": "removal", "status": 503}),
        "rate": ("Answer 429: too many requests", {"on": "removal", "status": 429}),
        "dropped": ("Lose the connection before the work", {"on": "removal", "drop": True}),
        "lost": ("Charge, then lose the answer", {"on": "removal", "after": True, "drop": True}),
        "slow": ("Answer 20 s late", {"on": "removal", "delay_seconds": 20}),
        "gone": ("Answer 404 for the result", {"on": "download", "status": 404}),
        "cut": ("Cut the result in half", {"on": "download", "cut": 0.5}),
    }
)
SETTINGS = ("credits", "latency_seconds", "requests_per_second")


def rule(fault: str, times: int | None) -> Rule:
    """Raises KeyError for a fault without a button, ValidationError for an impossible number."""
    _, fields = FAULTS[fault]
    return Rule(**fields, times=times)


def render(state: Mapping[str, Any]) -> str:
    """The page as HTML, from `StandIn.state`."""
    settings, faults = state["settings"], state["faults"]
    buttons = "\n".join(
        f'<button name="do" value="{name}">{escape(label)}</button>' for name, (label, _) in FAULTS.items()
    )
    latency, limit = settings["latency_seconds"], settings["requests_per_second"] or ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The stand-in for Pixelcut</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>The stand-in for Pixelcut</h1>
<p>Credits: {settings["credits"]:,} left, {state["credits_charged"]:,} charged. Reload the page for newer numbers.</p>
<h2>Answers so far</h2>
{_list(_word_answers(state["answers"])) or "<p>None.</p>"}
<h2>What goes wrong</h2>
{_list(_word_rules(faults["rules"], faults["fired"])) or "<p>Nothing.</p>"}
<form method="post">
<p><label>For the next <input name="times" type="number" min="1" value="2"> answers (empty: for all):</label></p>
<p>{buttons}</p>
<p><button name="do" value="nothing">Nothing goes wrong</button></p>
</form>
<h2>Settings</h2>
<form method="post">
<p><label>Credits <input name="credits" type="number" min="0" required value="{settings["credits"]}"></label></p>
<p><label>Seconds that each answer takes longer
<input name="latency_seconds" type="number" min="0" step="any" required value="{latency}"></label></p>
<p><label>Requests per second (empty: no limit)
<input name="requests_per_second" type="number" min="1" value="{limit}"></label></p>
<p><button name="do" value="settings">Change the settings</button></p>
</form>
<form method="post"><p><button name="do" value="reset">Back to how it started</button></p></form>
<p>Programs use <a href="state">GET state</a>, PATCH settings, PUT faults and POST reset, below this address.</p>
</body>
</html>
"""


def _word_answers(answers: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"{endpoint}: " + ", ".join(f"{number:,} x {status}" for status, number in statuses.items())
        for endpoint, statuses in answers.items()
    ]


def _word_rules(rules: list[dict[str, Any]], fired: list[int]) -> list[str]:
    """Each rule as JSON, and how often it has fired."""
    words = []
    for fields, number in zip(rules, fired, strict=True):
        given = Rule(**fields).model_dump(exclude_defaults=True)
        often = f"{number:,} times" if fields["times"] is None else f"{number:,} of {fields['times']:,} times"
        words.append(f"{json.dumps(given)} has fired {often}")
    return words


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 44rem; padding: 1.5rem 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
button, input { font: inherit; padding: .25rem .5rem; margin: 0 .25rem .25rem 0; }
li { overflow-wrap: anywhere; }
"""
