// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {assert, main, run, until} = require("./browser.js");

const uri = process.env.DISK_URI;

const finds = () => run(async ({page, open, shot}) => {
  await open("");
  const search = page.getByRole("combobox", {name: "Find a disk by its name"});
  await until("the search box has the focus", () => search.evaluate(box =>
    box === document.activeElement));
  await until("all disks are listed", async () => await page.getByRole("option").count() === 4);
  const lost = page.getByRole("option", {name: "db01/vda"});
  await until("the list says that a server is down",
    async () => /1 of 2 copies out of reach/.test(await lost.textContent()));
  await shot("list");
  await search.fill("vda@2026");
  await until("two are found", async () => await page.getByRole("option").count() === 2);
  assert.match(await page.getByRole("option").first().textContent(), /\d+ (days|months) ago/);
  await search.fill("nothing like it");
  await page.getByText("No disk has “nothing like it” in its name.").waitFor();
  await search.fill("db01");
  await page.getByRole("option", {name: "db01/vda"}).click();
  await page.getByRole("heading", {name: "db01/vda"}).waitFor();
  assert.match(page.url(), /#disk=db01%2Fvda$/);
});

const shows = () => run(async ({page, open, shot, context}) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open("#disk=web01%2Fvda");
  await page.getByRole("heading", {name: "web01/vda", exact: true}).waitFor();
  await page.getByText("Can be read, from 2 of 3 copies.").waitFor();
  const copies = page.getByRole("table", {name: "Copies"});
  await until("alpha is up", async () =>
    /up, [\d.]+ ms/.test(await copies.getByRole("row").filter({hasText: /^alpha/}).textContent()));
  const gamma = copies.getByRole("row").filter({hasText: /^gamma/});
  assert.match(await gamma.textContent(), /down:/);
  assert.match(await copies.getByRole("row").filter({hasText: /^beta/}).textContent(),
    /ready.*(just now|seconds? ago|minutes? ago).*raw.*8\.0 MiB.*same as/);
  await shot("disk");

  // Each line can be copied, and says what the server said.
  const answer = await page.evaluate(async () =>
    (await fetch("/api/v1/disk?name=web01/vda")).json());
  assert.strictEqual(answer.uri, uri);
  const texts = {"NBD URI": uri, "virsh attach-device XML": answer.lines["attach-xml"],
    "virt-install": answer.lines["virt-install"], "qemu-img: copy": answer.lines["qemu-img"],
    "qemu-img: overlay": answer.lines.overlay, "nbdcopy": answer.lines.nbdcopy,
    "guestfish": answer.lines.guestfish, "signpost files": answer.lines.files};
  for (const [label, text] of Object.entries(texts)) {
    await page.getByRole("button", {name: `Copy: ${label}`, exact: true}).click();
    await until(`${label} is copied`, async () =>
      await page.evaluate(() => navigator.clipboard.readText()) === text);
  }

  // Restore points, the newest first, and why it is read from there.
  const points = page.getByRole("list", {name: "Restore points"}).getByRole("link");
  assert.deepStrictEqual(await points.allTextContents(),
    ["web01/vda@2026-10-02T02:00", "web01/vda@2026-10-01T02:00"]);
  await page.getByText("Explain: why from there?").click();
  await page.getByRole("table", {name: "Order in which copies are tried"})
    .getByRole("row").filter({hasText: "beta"}).waitFor();
  await page.locator("#explain").scrollIntoViewIfNeeded();
  await shot("explain");

  await page.getByRole("button", {name: "Ask the servers now"}).click();
  await page.getByRole("button", {name: "Ask the servers now"}).waitFor();
  await points.first().click();
  await page.getByRole("heading", {name: "web01/vda@2026-10-02T02:00"}).waitFor();
  await page.getByText("Can be read. There is no second copy.").waitFor();
  await page.goBack();
  await page.getByRole("heading", {name: "web01/vda", exact: true}).waitFor();
  await page.goForward();
  await page.getByRole("heading", {name: "web01/vda@2026-10-02T02:00"}).waitFor();
});

const missing = () => run(async ({page, open}) => {
  await open("#disk=no%2Fsuch");
  await page.getByRole("alert").filter({hasText: "no/such"}).waitFor();
  await page.getByRole("button", {name: "Try again"}).waitFor();
}, {allowed: /status of 404/});

main(finds, shows, missing);
