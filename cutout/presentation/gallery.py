"""A page that shows each upload beside its cutout."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import quote, unquote

# Marks a page as ours, so that a folder with other contents is left alone.
MARK = '<meta name="generator" content="cutout demo">'
UPLOAD_MARK = '<meta name="generator" content="cutout upload">'
_RENEW = '<meta http-equiv="refresh" content="2">'


@dataclass(frozen=True)
class Entry:
    """One upload on the page. Paths are relative to the page, with slashes.

    `outcome` is empty until it has ended. `preview` is shown instead of an original that browsers do not show;
    `no_preview` says why there is none either.
    """

    name: str
    original: str
    outcome: str
    cutout: str | None = None
    seconds: float | None = None
    reason: str = ""
    preview: str | None = None
    no_preview: str = ""


def named_files(page: str) -> set[str]:
    """The paths, relative to the page, of the files that it links to or shows."""
    return {unquote(unescape(address)) for address in re.findall(r'(?:href|src)="([^"]+)"', page)}


def render(entries: Sequence[Entry], note: str, mark: str = MARK, *, working: bool = False) -> str:
    """The page as HTML, without scripts or anything fetched from elsewhere. The note says what the reader must know.

    It renews itself in the browser as long as it is `working`.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{mark}
{_RENEW if working else ""}
<title>Cutouts</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>Cutouts</h1>
<p>{_sum_up(entries, working=working)} {escape(note)}</p>
</header>
<main>
{"".join(_article(entry) for entry in entries)}</main>
</body>
</html>
"""


def _sum_up(entries: Sequence[Entry], *, working: bool) -> str:
    cutouts = sum(entry.cutout is not None for entry in entries)
    uploads = f"{len(entries)} {'upload' if len(entries) == 1 else 'uploads'}"
    if working:
        ended = sum(bool(entry.outcome) for entry in entries)
        return f"Working: {ended} of {uploads} done so far. This page renews itself."
    return f"{cutouts} of {uploads} became a cutout."


def _article(entry: Entry) -> str:
    name = escape(entry.name)
    seconds = "" if entry.seconds is None else f", {entry.seconds:.1f} s"
    kind = "waits" if not entry.outcome else "good" if entry.cutout else "bad"
    if entry.cutout is None:
        after = f'<p class="reason">{escape(entry.reason)}</p>'
    else:
        after = _picture(entry.cutout, entry.cutout, f"{entry.name} without its background")
    if entry.no_preview:
        link = f'<a href="{escape(quote(entry.original))}">Open the file.</a>'
        before = f'<p class="reason">{escape(entry.no_preview)} {link}</p>'
    else:
        before = _picture(entry.original, entry.preview or entry.original, f"{entry.name} as uploaded")
    return f"""<article>
<h2>{name}</h2>
<p class="outcome {kind}">{escape(entry.outcome or "in progress")}{seconds}</p>
<div class="pair">
<figure>{before}<figcaption>Before</figcaption></figure>
<figure>{after}<figcaption>After</figcaption></figure>
</div>
</article>
"""


def _picture(link: str, shown: str, alternative: str) -> str:
    return (
        f'<a href="{escape(quote(link))}">'
        f'<img src="{escape(quote(shown))}" alt="{escape(alternative)}" loading="lazy"></a>'
    )


_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --text: #1c1c1a; --quiet: #62625c; --line: #deded8;
  --good: #17693a; --bad: #a1361a; --light: #fff; --dark: #dcdcdc; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161615; --card: #20201f; --text: #ecece8; --quiet: #a3a39b; --line: #383835;
    --good: #6fce96; --bad: #f19a80; --light: #4a4a4a; --dark: #363636; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.75rem; }
header p { margin: .25rem 0 1.5rem; color: var(--quiet); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem;
  align-items: start; }
article { padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; min-width: 0; }
h2 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
.outcome { margin: 0 0 .75rem; font-size: .875rem; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.waits { color: var(--quiet); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
figure { display: flex; flex-direction: column; margin: 0; min-width: 0; }
figure > * { display: grid; place-items: center; flex: 1; min-height: 6rem; margin: 0; }
figure a { background: repeating-conic-gradient(var(--dark) 0 25%, var(--light) 0 50%) 50% / 20px 20px; }
img { display: block; max-width: 100%; max-height: 24rem; }
.reason { padding: 1rem; border: 1px dashed var(--line); color: var(--quiet); font-size: .875rem;
  overflow-wrap: anywhere; }
figcaption { flex: none; min-height: 0; padding-top: .25rem; color: var(--quiet); font-size: .8125rem; }
"""
