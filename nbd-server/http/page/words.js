// SPDX-License-Identifier: BSD-3-Clause
//
// Words. Whatever comes from outside is shown by visible(), as text; nothing here makes HTML.

const kHidden = /[^\P{C}]|[^\P{Z} ]|\p{M}{4,}/gu;

// Characters that cannot be seen, or that turn others around, as their numbers.
function visible(text) {
  return String(text).replace(kHidden, run => [...run].map(c =>
    "\\u" + (c.codePointAt(0) > 0xffff ? `{${c.codePointAt(0).toString(16)}}`
      : c.codePointAt(0).toString(16).padStart(4, "0"))).join(""));
}

const visibleLines = text => text.replace(/\n$/, "").split("\n").map(visible).join("\n");

function plural(count, one, many = one + "s") {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

const rate = bytes => `${size(bytes)}/s`;

let ahead = 0;  // of the server's clock before ours, in milliseconds

function span(seconds) {
  for (const [length, word, from] of [[86400 * 365, "year", 2], [86400 * 30, "month", 2],
      [86400, "day", 2], [3600, "hour", 1], [60, "minute", 1]]) {
    if (seconds >= length * from) {
      return plural(Math.floor(seconds / length), word);
    }
  }
  return plural(Math.max(0, Math.floor(seconds)), "second");
}

function ago(time) {
  const seconds = (Date.now() + ahead - time) / 1000;
  return seconds < -60 ? `in ${span(-seconds)}` : seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

// When the restore point NAME was taken, or null.
function pointTime(name) {
  const found = /@(\d{4}-\d\d-\d\d)(?:T(\d\d):?(\d\d)(?::?(\d\d))?Z?)?$/.exec(name);
  const time = found &&
    Date.parse(`${found[1]}T${found[2] || "00"}:${found[3] || "00"}:${found[4] || "00"}Z`);
  return Number.isFinite(time) ? time : null;
}
