// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const fs = require("node:fs");
const {assert, main, run, until} = require("./browser.js");

// Has the test do WHAT.
async function make(what) {
  const path = `${process.env.STEPS}/${what}`;
  fs.writeFileSync(`${path}.asked`, "");
  await until(what, () => fs.existsSync(`${path}.done`));
}

const away = () => run(async ({page, open, shot}) => {
  await open("");
  await until("both are listed", async () => await page.getByRole("option").count() === 2);
  await make("catalog-away");
  const stubs = page.getByRole("status").filter({hasText: "The catalog does not answer."});
  await stubs.waitFor();
  assert.match(await stubs.textContent(), /what this server remembers, as of .* ago|just now/);
  await page.getByRole("option", {name: "web01/vda"}).click();
  await page.getByRole("heading", {name: "web01/vda"}).waitFor();
  await page.getByRole("table", {name: "Copies"}).getByText("beta").waitFor();
  await shot("catalog");
  await make("catalog-back");
  await stubs.waitFor({state: "hidden"});

  await make("server-away");
  const gone = page.getByRole("alert").filter({hasText: "This server has not answered since"});
  await gone.waitFor();
  await until("it counts", async () => /\([2-9] seconds\)/.test(await gone.textContent()));
  await page.getByRole("heading", {name: "web01/vda"}).waitFor();  // what was known stays
  await shot("server");
  await make("server-back");
  await gone.waitFor({state: "hidden"});
}, {allowed: /ERR_CONNECTION|ERR_EMPTY_RESPONSE|status of 5\d\d/});

main(away);
