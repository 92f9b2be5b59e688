"use strict";

// What is not a picture shows none; its caption may say so.
document.addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLImageElement)) return;
  target.hidden = true;
  const words = target.closest("figure")?.querySelector("figcaption [hidden]");
  if (words) words.hidden = false;
}, true);
