"use strict";

// A live part of a page has hx-trigger="tick from:body". It is asked for while somebody can see it, and more rarely
// while nothing moves: its answer says when to ask again, in the header Next-Look-Milliseconds.
let lookMilliseconds = 1000;

function tick() {
  if (document.visibilityState === "visible") document.body.dispatchEvent(new Event("tick"));
  setTimeout(tick, lookMilliseconds);
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") document.body.dispatchEvent(new Event("tick"));
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  document.getElementById("gone").hidden = detail.xhr.status !== 0;
  const next = Number(detail.xhr.getResponseHeader("Next-Look-Milliseconds"));
  if (next) lookMilliseconds = next;
});

setTimeout(tick, lookMilliseconds);
