"use strict";

const compared = document.getElementById("compared");
const ground = compared.querySelector(".ground");
const colour = document.getElementById("colour");
const STORED = "background";
const SHARE_OF_HEIGHT = 0.7;
const LEAST_WIDTH = 320;

function choose(name) {
  ground.classList.toggle("checkered", name === "checkered");
  ground.style.backgroundColor = name === "checkered" ? "" : name === "colour" ? colour.value : name;
  localStorage.setItem(STORED, JSON.stringify([name, colour.value]));
}

for (const radio of document.querySelectorAll("[name=ground]")) {
  radio.addEventListener("change", () => choose(radio.value));
}
colour.addEventListener("input", () => {
  document.querySelector("[name=ground][value=colour]").checked = true;
  choose("colour");
});

const [name, value] = JSON.parse(localStorage.getItem(STORED) ?? "[]");
const radio = [...document.querySelectorAll("[name=ground]")].find((one) => one.value === name);
if (radio) {
  colour.value = value;
  radio.checked = true;
  choose(name);
}

// As large as it is, but never higher than most of the window.
function fit() {
  const { naturalWidth: width, naturalHeight: height } = ground;
  if (!width) return;
  const highest = Math.max(width, LEAST_WIDTH);
  compared.style.maxWidth = `${Math.min(highest, (innerHeight * SHARE_OF_HEIGHT * width) / height)}px`;
}

ground.addEventListener("load", fit);
addEventListener("resize", fit);
fit();

function complain(picture) {
  const broken = document.getElementById("broken");
  broken.textContent = picture === ground
    ? "The cutout cannot be shown: it is gone by now, or not a picture."
    : "The original cannot be shown: it is gone by now, or in a format that this machine does not read.";
  broken.hidden = false;
}

for (const picture of compared.querySelectorAll("img")) {
  picture.addEventListener("error", () => complain(picture));
  if (picture.complete && !picture.naturalWidth) complain(picture);
}
