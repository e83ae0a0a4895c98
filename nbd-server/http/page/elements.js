// SPDX-License-Identifier: BSD-3-Clause
//
// Elements, made of tags, attributes and text: no text becomes markup.

const $ = id => document.getElementById(id);

function element(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") {
      made.addEventListener(name, value);
    } else if (value !== null && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

const h = (tag, attributes, ...children) =>
  element(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  element(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const when = time => h("time", {datetime: new Date(time).toISOString(),
  title: new Date(time).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC")}, ago(time));

// COLUMNS: titles; those that begin with # are of numbers.
function table(label, columns, rows) {
  const title = column => column.replace("#", "");
  const kind = column => column.startsWith("#") ? "number" : null;
  return h("table", {"aria-label": label},
    h("thead", {}, h("tr", {},
      columns.map(column => h("th", {class: kind(column), scope: "col"}, title(column))))),
    h("tbody", {}, rows.map(cells => h("tr", {}, cells.map((cell, i) =>
      h("td", {class: kind(columns[i]), "data-label": title(columns[i])}, cell))))));
}

// What is in PLACE, anew; a link that has the focus there keeps it.
function refill(place, ...children) {
  const link = place.contains(document.activeElement) && document.activeElement.href;
  place.replaceChildren(...children);
  if (link) {
    [...place.querySelectorAll("a")].find(each => each.href === link)?.focus();
  }
}

const diskLink = name => "#disk=" + encodeURIComponent(name);

const nameLink = name => h("a", {class: "name", href: diskLink(name)}, visible(name));

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // not allowed, or plain HTTP from elsewhere
    const area = h("textarea", {"aria-hidden": "true"});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

function paste(label, text) {
  const button = h("button", {"aria-label": `Copy: ${label}`,
    click: () => copyText(text, button)}, "Copy");
  return h("div", {class: "paste", "data-for": label}, h("span", {}, label),
    h("pre", {tabindex: "0", "aria-label": label}, visibleLines(text)), button);
}

const loading = what => h("p", {class: "note", role: "status"}, what);

function failure(error, again) {
  return h("div", {role: "alert"}, h("p", {class: "verdict bad"}, visible(error.message)),
    again && h("div", {class: "tools"}, h("button", {click: again}, "Try again")));
}
