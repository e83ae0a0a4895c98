// SPDX-License-Identifier: BSD-3-Clause
//
// The list of disks: as many as have been scrolled to are known, and what is seen is drawn.

const kRow = 46;
const kPage = 200;
const found = {text: null, items: [], next: "", loading: false, error: null, active: -1, ask: 0};

function search(text) {
  Object.assign(found, {text, items: [], next: "", error: null, active: -1, loading: false});
  found.ask++;
  $("scroll").scrollTop = 0;
  more();
}

async function more() {
  if (found.loading || found.next === null) {
    return;
  }
  const asked = found.ask;
  found.loading = true;
  found.error = null;
  draw();
  try {
    const parameters = {limit: kPage};
    if (found.text) {
      parameters.find = found.text;
    }
    if (found.next) {
      parameters.after = found.next;
    }
    const page = await ask("disks", parameters);
    if (asked === found.ask) {
      for (const disk of page.disks) {
        found.items.push(disk);
      }
      found.next = page.next;
    }
  } catch (error) {
    if (asked === found.ask) {
      found.error = error;
    }
  }
  if (asked === found.ask) {
    found.loading = false;
    draw();
  }
}

function countText() {
  const count = found.items.length;
  if (found.error) {
    return visible(found.error.message);
  }
  if (found.loading && !count) {
    return "Looking…";
  }
  if (!count) {
    const more = status && status.access_rules && !status.user && status.sign_in
      ? " that you may see; sign in to see yours" : "";
    return found.text ? `No disk${more} has “${visible(found.text)}” in its name.`
      : `There is no disk${more || " yet"}.`;
  }
  const all = !found.text && status && status.knowledge === "catalog" && !status.access_rules
    ? ` of ${status.disks.toLocaleString("en")}` : "";
  return found.next === null ? plural(count, "disk")
    : `The first ${count.toLocaleString("en")}${all}; scroll for more`;
}

// How bad it is, and what to say.
function copiesText(disk) {
  const copies = plural(disk.locations, "copy", "copies");
  const away = disk.servers.filter(server => down.has(server)).length;
  if (disk.conflict) {
    return ["bad", `${copies} in conflict`];
  }
  if (disk.ready_locations < disk.locations) {
    return [disk.ready_locations ? "warn" : "bad", `${disk.ready_locations} of ${copies} ready`];
  }
  return away ? [away < disk.locations ? "warn" : "bad", `${away} of ${copies} out of reach`]
    : [null, copies];
}

function row(disk, i) {
  const time = pointTime(disk.name);
  const [trouble, copies] = copiesText(disk);
  const made = h("a", {class: "row" + (i === found.active ? " active" : ""), role: "option",
    id: `row-${i}`, href: diskLink(disk.name), tabindex: "-1", title: visible(disk.name),
    "aria-selected": String(disk.name === route.disk), "aria-posinset": i + 1,
    "aria-setsize": found.next === null ? found.items.length : -1},
  h("div", {class: "name"}, visible(disk.name)),
  h("small", {}, `${size(disk.size)} · `, h("span", {class: trouble}, copies),
    ` · ${visible(disk.servers.slice(0, 5).join(", "))}`, time ? ` · ${ago(time)}` : ""));
  made.style.top = `${i * kRow}px`;
  return made;
}

function draw() {
  const scroll = $("scroll");
  $("list").style.height = `${found.items.length * kRow}px`;
  $("list").setAttribute("aria-busy", String(found.loading));
  const first = Math.max(0, Math.floor(scroll.scrollTop / kRow) - 8);
  const last = Math.min(found.items.length,
    Math.ceil((scroll.scrollTop + scroll.clientHeight) / kRow) + 8);
  const rows = [];
  for (let i = first; i < last; i++) {
    rows.push(row(found.items[i], i));
  }
  $("list").replaceChildren(...rows);
  const text = countText();
  if ($("count").textContent !== text) {
    $("count").textContent = text;
  }
  if (found.active >= first && found.active < last) {
    $("search").setAttribute("aria-activedescendant", `row-${found.active}`);
  } else {
    $("search").removeAttribute("aria-activedescendant");
  }
  if (!found.error && scroll.clientHeight && last > found.items.length - kPage / 2) {
    more();
  }
}

function move(to) {
  if (!found.items.length) {
    return;
  }
  found.active = Math.max(0, Math.min(to, found.items.length - 1));
  const scroll = $("scroll");
  const top = found.active * kRow;
  if (top < scroll.scrollTop) {
    scroll.scrollTop = top;
  } else if (top + kRow > scroll.scrollTop + scroll.clientHeight) {
    scroll.scrollTop = top + kRow - scroll.clientHeight;
  }
  draw();
}
