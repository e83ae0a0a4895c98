// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {execFileSync} = require("node:child_process");
const {assert, main, run, until} = require("./browser.js");

// Nothing but our own script, no elements out of names, and no wider than the window.
async function sound(page) {
  const found = await page.evaluate(() => ({
    scripts: document.scripts.length,
    others: document.querySelectorAll("img, iframe, object, [onerror], [onload]").length,
    wide: document.documentElement.scrollWidth - window.innerWidth,
    hidden: /[\u202a-\u202e\u2066-\u2069\u200b-\u200f]/.test(document.body.innerText),
  }));
  assert.deepStrictEqual(found, {scripts: 1, others: 0, wide: found.wide, hidden: false});
  assert.ok(found.wide <= 0, `the page is ${found.wide} pixels wider than the window`);
}

const disks = (viewport, device) => () => run(async ({page, open, shot, address}) => {
  const {disks} = await (await fetch(`${address}/api/v1/disks`)).json();
  assert.ok(disks.length >= 11, `only ${disks.length} disks`);
  await open("");
  await until("all are listed",
    async () => await page.getByRole("option").count() === disks.length);
  await page.getByText("photo\\u202egnp.vm").waitFor();
  await page.getByText("zero\\u200bwidth\\u2066isolate").waitFor();
  await sound(page);
  await shot(`list-${device}`);
  for (const {name} of disks) {
    await open("#disk=" + encodeURIComponent(name));
    await page.getByRole("button", {name: "Copy: NBD URI"}).waitFor();
    await sound(page);
    const {lines} = await (await fetch(
      `${address}/api/v1/disk?name=${encodeURIComponent(name)}`)).json();
    const read = await page.evaluate(text => {
      const xml = new DOMParser().parseFromString(text, "text/xml");
      return xml.querySelector("parsererror") ? null
        : xml.querySelector("source").getAttribute("name");
    }, lines["attach-xml"]);
    assert.strictEqual(read, name, "libvirt's XML has another name");
    const words = execFileSync("bash", ["-c", `signpost() { printf %s "$3"; }; ${lines.where}`]);
    assert.strictEqual(words.toString(), name, "a shell reads another name");
    for (const line of ["nbdcopy", "qemu-img", "guestfish", "virt-install", "files"]) {
      execFileSync("bash", ["-c",
        `nbdcopy() { :; }; qemu-img() { :; }; guestfish() { :; }; virt-install() { :; }
        signpost() { :; }; ${lines[line]}`]);
    }
    if (name.length > 500 || name.includes("photo")) {
      await shot(`disk-${name.length}-${device}`);
    }
  }
}, {viewport});

// What somebody else has made up as a link.
const links = () => run(async ({page, open, shot}) => {
  const text = "<img src=x onerror=alert(1)>\u202e\u0007".repeat(130).slice(0, 4096);
  await open("#disk=" + encodeURIComponent(text));
  await page.getByRole("alert").getByRole("button", {name: "Try again"}).waitFor();
  assert.match(await page.locator("#disk h2").textContent(), /^<img.*\\u202e\\u0007/);
  await sound(page);
  await shot("link");
  await open("#find=" + encodeURIComponent(text.slice(0, 1000)));
  await page.getByText("No disk has “<img").waitFor();
  await sound(page);
}, {allowed: /status of 40\d/});

main(disks({width: 1280, height: 800}, "desktop"), disks({width: 360, height: 740}, "phone"),
  links);
