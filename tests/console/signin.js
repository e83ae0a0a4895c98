// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {assert, main, run, until} = require("./browser.js");

const signs = () => run(async ({page, open, shot}) => {
  await open("");
  await page.getByText("There is no disk that you may see; sign in to see yours.").waitFor();
  await page.getByRole("button", {name: "Sign in"}).click();
  const dialog = page.getByRole("dialog", {name: "Sign in"});
  await dialog.getByLabel("User").fill("ann");
  await dialog.getByLabel("Password").fill("guess");
  await dialog.getByLabel("Password").press("Enter");
  await dialog.getByRole("alert").filter({hasText: "no such user, or another password"}).waitFor();
  assert.strictEqual(await dialog.getByLabel("Password").inputValue(), "");
  await shot("refused");
  await dialog.getByLabel("Password").fill("päss:word");
  await dialog.getByRole("button", {name: "Sign in"}).click();
  await page.getByRole("option", {name: "web/vda"}).waitFor();
  assert.strictEqual(await page.getByRole("option").count(), 1);
  await page.getByText("ann", {exact: true}).waitFor();
  await shot("in");

  // It is the cookie's, and no script can read it.
  await page.reload();
  await page.getByRole("option", {name: "web/vda"}).waitFor();
  assert.strictEqual(await page.evaluate(() => document.cookie), "");
  await page.getByRole("option", {name: "web/vda"}).click();
  await page.getByRole("heading", {name: "web/vda"}).waitFor();
  await page.getByRole("button", {name: "Sign out"}).click();
  await until("the list is empty", async () => await page.getByRole("option").count() === 0);
  await page.locator("#disk").getByRole("alert").waitFor();
}, {allowed: /status of 40[14]/});

main(signs);
