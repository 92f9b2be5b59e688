"use strict";

// The files that a person has dropped or chosen, each with its path in what was dropped.

/** Of a drop. Call this before the event ends: afterwards the browser does not show what was dropped. */
export function fromDrop(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? walk(entries) : Promise.resolve(fromFiles(transfer.files));
}

export function fromFiles(files) {
  return sorted([...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

async function walk(entries) {
  const picked = [];
  const left = [...entries];
  while (left.length) {
    const entry = left.pop();
    if (entry.isDirectory) left.push(...(await list(entry)));
    else picked.push({ path: entry.fullPath.slice(1), file: await promised(entry, "file") });
  }
  return sorted(picked);
}

async function list(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await promised(reader, "readEntries"); // at most a hundred
    if (!some.length) return found;
    found.push(...some);
  }
}

function promised(thing, method) {
  return new Promise((resolve, reject) => thing[method](resolve, reject));
}

function sorted(picked) {
  return picked.sort((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0));
}
