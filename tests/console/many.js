// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {assert, main, run, until} = require("./browser.js");

const kStall = 1000;  // milliseconds that the page may not answer, on a machine that is busy

const rows = page => page.getByRole("option").count();

const scrolls = () => run(async ({page, context, open, shot}) => {
  await context.addInitScript(() => {
    window.longest = 0;
    new PerformanceObserver(list => {
      for (const task of list.getEntries()) {
        window.longest = Math.max(window.longest, task.duration);
      }
    }).observe({entryTypes: ["longtask"]});
  });
  await open("");
  const first = /^The first [\d,]+ of 100,001; scroll for more$/;
  await until("the first are listed",
    async () => first.test(await page.locator("#count").textContent()));
  await shot("first");

  // To the end of what is known, again and again: more comes, and no more is drawn.
  const known = async () => Number((await page.locator("#count").textContent())
    .replace(/\D*([\d,]+) of .*/, "$1").replaceAll(",", ""));
  while (await known() < 10000) {
    const before = await known();
    await page.locator("#scroll").evaluate(list => { list.scrollTop = list.scrollHeight; });
    await until("more are known", async () => await known() > before);
    assert.ok(await rows(page) < 60, `${await rows(page)} rows are drawn`);
  }
  await shot("scrolled");

  const search = page.getByRole("combobox");
  await search.pressSequentially("disk-07777", {delay: 20});
  await until("ten are found", async () => await rows(page) === 10);
  await search.press("ArrowDown");
  await search.press("Enter");
  await page.getByRole("heading", {name: "vm/disk-077770"}).waitFor();
  await page.getByText("Cannot be read now: its only copy is out of reach.")
    .or(page.getByText("Can be read.")).waitFor();
  await search.fill("disk-09999");
  await until("the last are found", async () => await rows(page) === 10);
  const longest = await page.evaluate(() => window.longest);
  console.log(`the page's longest task took ${Math.round(longest)} ms`);
  assert.ok(longest < kStall, `the page stood still for ${longest} ms`);
});

main(scrolls);
