"use strict";

const dialog = document.getElementById("dialog");
const content = document.getElementById("dialog-content");

// What a button puts into the dialog may take seconds: the dialog is there at once, and busy.
document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (detail.target !== content || dialog.open) return;
  const busy = document.createElement("p");
  busy.textContent = "Looking…";
  content.replaceChildren(busy);
  content.setAttribute("aria-busy", "true");
  dialog.showModal();
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target !== content) return;
  content.removeAttribute("aria-busy");
  content.querySelector("h2")?.focus();
});

document.addEventListener("begun", () => dialog.close());

// A renewed list keeps what is open and what is chosen.
let chosen = [];

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id !== "groups") return;
  const groups = [...detail.elt.querySelectorAll("details")];
  // Those that the address names could not be open before they were read.
  const named = groups.length ? [] : new URLSearchParams(location.search).getAll("code").map((code) => `1:${code}`);
  detail.parameters.open = named.concat(groups.filter((group) => group.open).map(
    (group) => `${group.querySelector("form.letters-chosen")?.dataset.page ?? 1}:${group.dataset.code}`,
  ));
});

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.id !== "groups") return;
  chosen = [...detail.target.querySelectorAll("input[name=id]:checked")].map((box) => box.id);
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target.id !== "groups") return;
  for (const id of chosen) {
    const box = document.getElementById(id);
    if (box) box.checked = true;
  }
  for (const form of detail.target.querySelectorAll("form.letters-chosen")) tell(form);
});

function tell(form) {
  const boxes = [...form.querySelectorAll("input[name=id]")];
  const number = boxes.filter((box) => box.checked).length;
  const all = form.querySelector("input.letters-all");
  if (!all) return;
  all.checked = number === boxes.length;
  all.indeterminate = number > 0 && number < boxes.length;
  form.querySelector("output").textContent = number ? `${number} chosen.` : "None chosen.";
}

document.addEventListener("change", ({ target }) => {
  const form = target.closest("form.letters-chosen");
  if (!form) return;
  if (target.matches("input.letters-all")) {
    for (const box of form.querySelectorAll("input[name=id]")) box.checked = target.checked;
  }
  tell(form);
});
