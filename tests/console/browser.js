// SPDX-License-Identifier: BSD-3-Clause
//
// What each script in the browser is run by: run(async ({page, …}) => …). The page has to keep to
// its policy, to load nothing from elsewhere, and to report no error, or the test fails.
"use strict";

const assert = require("node:assert");
const {chromium} = require("playwright-core");

const address = process.env.CONSOLE.replace(/\/$/, "");
const kPatience = 30000;  // for machines that are busy

// Until PROBE is true, or says without an error what it wants.
async function until(what, probe) {
  const end = Date.now() + kPatience;
  let last = "";
  while (Date.now() < end) {
    try {
      if (await probe()) {
        return;
      }
    } catch (error) {
      last = error.message;
    }
    await new Promise(wake => setTimeout(wake, 50));
  }
  assert.fail(`not within ${kPatience / 1000} s: ${what} ${last}`);
}

async function watched(context, allowed) {
  const wrong = [];
  await context.addInitScript(() => document.addEventListener("securitypolicyviolation",
    event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  context.on("request", request => {
    if (!request.url().startsWith(address + "/") && !request.url().startsWith("data:")) {
      wrong.push(`a request to ${request.url()}`);
    }
    if (request.method() !== "GET") {
      wrong.push(`${request.method()} ${request.url()}`);
    }
  });
  context.on("console", message => {
    if (["error", "warning"].includes(message.type()) && !allowed.test(message.text())) {
      wrong.push(`in the console: ${message.text()}`);
    }
  });
  context.on("weberror", error => wrong.push(`error: ${error.error().stack}`));
  context.on("dialog", dialog => {
    wrong.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return wrong;
}

// OPTIONS: of Playwright's context; `allowed`: what the page may report.
async function run(body, {allowed = /^$/, ...options} = {}) {
  const browser = await chromium.launch({executablePath: "/usr/bin/chromium",
    args: ["--disable-dev-shm-usage", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])]});
  try {
    const context = await browser.newContext({viewport: {width: 1280, height: 800},
      reducedMotion: "reduce", locale: "en-GB", timezoneId: "UTC", ...options});
    context.setDefaultTimeout(kPatience);
    const wrong = await watched(context, allowed);
    const page = await context.newPage();
    const shot = name => page.screenshot({path: `${process.env.SHOTS}-${name}.png`});
    const open = async hash => {
      await page.goto(`${address}/${hash}`);
      await until("the page has asked its server",
        async () => !(await page.locator("#facts").textContent()).startsWith("Asking"));
    };
    await body({page, context, shot, open, address}).catch(async error => {
      await shot("failed").catch(() => {});
      throw error;
    });
    assert.deepStrictEqual(wrong, []);
  } finally {
    await browser.close();
  }
}

// Runs each of SCRIPTS in turn; the first that fails ends all.
function main(...scripts) {
  (async () => {
    for (const script of scripts) {
      await script();
    }
  })().catch(error => {
    console.error(error.stack);
    process.exitCode = 1;
  });
}

module.exports = {assert, main, run, until};
