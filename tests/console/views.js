// SPDX-License-Identifier: BSD-3-Clause
"use strict";
const {assert, main, run, until} = require("./browser.js");

const kPhone = {viewport: {width: 360, height: 740}, hasTouch: true, isMobile: true};

const keyboard = () => run(async ({page, open, shot}) => {
  await open("");
  await until("all are listed", async () => await page.getByRole("option").count() === 6);
  const search = page.getByRole("combobox");
  const active = async () => {
    const id = await search.getAttribute("aria-activedescendant");
    return id && page.locator(`#${id} .name`).textContent();
  };
  await page.keyboard.type("web");
  await until("three are found", async () => await page.getByRole("option").count() === 3);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.strictEqual(await active(), "web02/vda");
  await page.keyboard.press("ArrowUp");
  assert.strictEqual(await active(), "web01/vda");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", {name: "web01/vda"}).waitFor();
  await page.getByRole("option", {name: "web01/vda", selected: true}).waitFor();

  // With Tab to what can be copied, and its focus can be seen.
  const copy = page.getByRole("button", {name: "Copy: NBD URI"});
  await copy.waitFor();
  for (let i = 0; i < 15 && !await copy.evaluate(each => each === document.activeElement); i++) {
    await page.keyboard.press("Tab");
  }
  assert.ok(await copy.evaluate(each => each === document.activeElement &&
    parseFloat(getComputedStyle(each).outlineWidth) >= 2), "no focus is seen at the button");
  await shot("focus");
  await page.keyboard.press("Enter");
  await page.getByText("Copied").waitFor();

  // Escape: to what was found, then to all. The slash goes to the search from anywhere.
  await page.keyboard.press("Escape");
  await until("the search is back", async () => /#find=web$/.test(page.url()));
  await page.keyboard.press("Escape");
  await until("all are listed", async () => await page.getByRole("option").count() === 6);
  await page.getByRole("link", {name: "Findings"}).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("list", {name: "Findings"}).waitFor();
  await page.keyboard.press("/");
  await until("the search has the focus",
    async () => search.evaluate(box => box === document.activeElement));
  assert.strictEqual(await search.inputValue(), "");
});

// A link leads to what it says, and Back to where one was.
const links = () => run(async ({page, open}) => {
  await open("#find=db0");
  await until("two are found", async () => await page.getByRole("option").count() === 2);
  await page.getByRole("option", {name: "db02/vda"}).click();
  await page.getByRole("heading", {name: "db02/vda"}).waitFor();
  await page.getByRole("link", {name: "Servers"}).click();
  await page.getByRole("table", {name: "Servers"}).waitFor();
  await page.goBack();
  await page.getByRole("heading", {name: "db02/vda"}).waitFor();
  await page.goBack();
  await until("what was found is back", async () => await page.getByRole("option").count() === 2 &&
    await page.getByRole("combobox").inputValue() === "db0");
});

// The least contrast of any text with what is behind it, and which text that is.
function leastContrast() {
  const numbers = colour => colour.match(/[\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(value => value / 255).map(value =>
    value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour).length === 3) {
        return colour;
      }
    }
    return "rgb(255, 255, 255)";
  };
  let least = {contrast: 21};
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)
      .map(node => node.data.trim()).join("");
    if (!text || !element.getClientRects().length || element.matches("script, style")) {
      continue;
    }
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const contrast = (a + .05) / (b + .05);
    least = contrast < least.contrast ? {contrast, text} : least;
  }
  return least;
}

// Everything that can be worked has a name, each id is there once, each view fits the window.
function faults() {
  const named = element => element.getAttribute("aria-label") || element.textContent.trim() ||
    (element.id && document.querySelector(`label[for="${element.id}"]`));
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  return [
    ...[...document.querySelectorAll("a, button, input, table, [role]")]
      .filter(element => element.getClientRects().length && !named(element))
      .map(element => `no name: ${element.outerHTML.slice(0, 100)}`),
    ...ids.filter((id, i) => ids.indexOf(id) !== i).map(id => `twice: ${id}`),
    ...[...document.querySelectorAll("svg")].filter(each => !each.getAttribute("aria-label"))
      .map(() => "a picture without words"),
    ...(document.documentElement.scrollWidth > window.innerWidth ? ["wider than the window"] : []),
    ...[...document.querySelectorAll(".view")].filter(view => view.scrollWidth > view.clientWidth)
      .map(view => `${view.id} is wider than the window`),
  ];
}

const looks = (name, options) => () => run(async ({page, open, shot}) => {
  for (const [view, hash, ready] of [["list", "", page.getByRole("option").first()],
    ["disk", "#disk=web01%2Fvda", page.getByRole("table", {name: "Copies"})],
    ["lost", "#disk=old%2Fvda", page.getByText("Cannot be read now: its only copy is out of reach.")],
    ["sessions", "#sessions", page.getByText("No client is connected")],
    ["servers", "#servers", page.getByRole("table", {name: "Servers"})],
    ["findings", "#findings", page.getByRole("list", {name: "Findings"})]]) {
    await open(hash);
    await ready.waitFor();
    await shot(`${name}-${view}`);
    assert.deepStrictEqual(await page.evaluate(faults), [], `${name}, ${view}`);
    const {contrast, text} = await page.evaluate(leastContrast);
    assert.ok(contrast >= 4.5, `${name}, ${view}: contrast ${contrast.toFixed(2)} of: ${text}`);
  }
}, options);

// On a phone a disk takes the place of the list, and a link leads back.
const phone = () => run(async ({page, open}) => {
  await open("");
  await page.getByRole("option", {name: "web01/vda"}).tap();
  await page.getByRole("heading", {name: "web01/vda"}).waitFor();
  assert.ok(!await page.getByRole("combobox").isVisible(), "the list is still there");
  await page.getByRole("link", {name: "All disks"}).tap();
  await page.getByRole("combobox").waitFor();
  assert.ok(!await page.getByRole("heading", {name: "web01/vda"}).isVisible());
}, kPhone);

main(keyboard, links, phone, looks("desktop", {}), looks("dark", {colorScheme: "dark"}),
  looks("phone", kPhone), looks("phone-dark", {...kPhone, colorScheme: "dark"}));
