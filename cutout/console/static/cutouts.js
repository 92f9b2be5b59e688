"use strict";

// Cutouts that are chosen stay so from page to page, as long as the tab is open.
const STORED = "chosen cutouts";
const form = document.getElementById("choice");
const chosen = new Set(JSON.parse(sessionStorage.getItem(STORED) ?? "[]"));

const boxes = () => [...document.querySelectorAll("#grid input[name=key]")];

function show() {
  for (const box of boxes()) box.checked = chosen.has(box.value);
  const number = chosen.size;
  form.hidden = !number && !boxes().length;
  document.getElementById("chosen").textContent = number ? `${number.toLocaleString("en")} chosen.` : "None chosen.";
  document.getElementById("choose-none").disabled = !number;
  document.getElementById("download-chosen").disabled = !number;
}

function keep() {
  sessionStorage.setItem(STORED, JSON.stringify([...chosen]));
  show();
}

document.addEventListener("change", ({ target }) => {
  if (target.name !== "key") return;
  if (target.checked) chosen.add(target.value);
  else chosen.delete(target.value);
  keep();
});

document.getElementById("choose-all").addEventListener("click", () => {
  for (const box of boxes()) chosen.add(box.value);
  keep();
});

document.getElementById("choose-none").addEventListener("click", () => {
  chosen.clear();
  keep();
});

// Those on other pages have no box that the form could send.
form.addEventListener("formdata", ({ formData }) => {
  formData.delete("key");
  for (const key of chosen) formData.append("key", key);
});

document.addEventListener("htmx:afterSwap", show);
window.addEventListener("pageshow", show);

// A picture that is gone, or is none.
document.addEventListener("error", ({ target }) => {
  if (target.matches?.(".tile img")) target.closest(".tile").classList.add("without-picture");
}, true);
