// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {assert, main, run, until} = require("./browser.js");

const sessions = () => run(async ({page, open, shot}) => {
  await open("");
  await page.getByRole("link", {name: "Sessions"}).click();
  const relayed = page.getByRole("table", {name: "Sessions"}).getByRole("row")
    .filter({hasText: "db01/vda"});
  const figures = /127\.0\.0\.1.*relayed from beta[\d.]+ [KM]iB\/s[\d.]+ [KM]iB/;
  await until("a session is relayed, and has a curve", async () =>
    figures.test(await relayed.textContent()) && await relayed.locator("polyline").count() === 1);
  const curve = relayed.getByRole("img");
  assert.match(await curve.getAttribute("aria-label"),
    /^Five minutes of throughput: now .*\/s, at most .*\/s$/);
  const box = await curve.boundingBox();
  assert.ok(box.width > 50 && box.height > 20, "the curve is too small to be seen");
  await shot("sessions");

  // Figures move by themselves, and what has the focus keeps it.
  const link = relayed.getByRole("link");
  await link.focus();
  await relayed.evaluate(row => { row.id = "before"; });
  await until("the sessions are drawn again",
    async () => await page.locator("#before").count() === 0);
  assert.ok(await link.evaluate(each => each === document.activeElement), "the focus is lost");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", {name: "db01/vda"}).waitFor();
});

const servers = () => run(async ({page, open, shot}) => {
  await open("#servers");
  await page.getByRole("img", {name: "Links from this server to 2 peers, 1 down"}).waitFor();
  const row = name => page.getByRole("table", {name: "Servers"}).getByRole("row")
    .filter({hasText: name});
  await row(/^alphathis server/).waitFor();
  assert.match(await row(/^beta/).textContent(), /^beta[\d.]+ ms/);
  assert.match(await row(/^gamma/).textContent(), /^gammadown: .*nbd:\/\/127\.0\.0\.1/);
  await shot("servers");
});

const findings = () => run(async ({page, open, shot}) => {
  await open("#findings");
  const list = page.getByRole("list", {name: "Findings"});
  const gamma = list.getByRole("listitem").filter({hasText: "gamma"}).first();
  await gamma.waitFor();
  assert.match(await gamma.textContent(), /^fail|^warn/);
  assert.match(await list.getByRole("listitem").first().textContent(), /^fail/);
  await shot("findings");
  await page.getByRole("button", {name: "Look again"}).click();
  await page.getByRole("button", {name: "Look again"}).waitFor();
});

main(sessions, servers, findings);
