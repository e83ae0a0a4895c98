// SPDX-License-Identifier: BSD-3-Clause
//
// A disk: where it lies and how it is, what to paste, its restore points, and why from there.

let shown = {disk: null, asked: 0};

async function showDisk(name, check = false) {
  const place = $("disk");
  const asked = ++shown.asked;
  if (shown.disk !== name) {
    shown.disk = name;
    place.scrollTop = 0;
    place.replaceChildren(backLink(), h("h2", {class: "name"}, visible(name)),
      loading("Looking where it is…"));
  }
  try {
    const disk = await ask("disk", check ? {name, check: "true"} : {name});
    if (asked === shown.asked) {
      place.replaceChildren(...diskView(name, disk));
    }
  } catch (error) {
    if (asked === shown.asked) {
      place.replaceChildren(backLink(), h("h2", {class: "name"}, visible(name)),
        failure(error, () => showDisk(name)));
    }
  }
}

const backLink = () => h("a", {id: "back", href: findLink(route.find)},
  "‹ All disks");

const usable = copy => copy.state === "ready" && copy.reachable !== false;

function verdict(disk) {
  const copies = disk.locations;
  const all = plural(copies.length, "copy", "copies");
  const count = copies.filter(usable).length;
  if (disk.conflict) {
    return ["bad", "In conflict: its copies claim to be different disks. Look at explain below."];
  }
  if (!copies.length) {
    return ["bad", "No server holds it."];
  }
  if (!count) {
    const which = copies.length === 1 ? "its only copy is" : `its ${all} are`;
    const why = copies.every(copy => copy.state === "ready") ? "out of reach"
      : "out of reach or not good";
    return ["bad", `Cannot be read now: ${which} ${why}.`];
  }
  if (count < copies.length) {
    return ["warn", `Can be read, from ${count} of ${all}.`];
  }
  return copies.length === 1 ? ["warn", "Can be read. There is no second copy."]
    : ["good", `Can be read, from each of ${all}.`];
}

function stateText(copy) {
  const words = {ready: ["good", "ready"], copying: ["warn", "being copied"],
    stale: ["warn", "stale: another copy is newer"],
    damaged: ["bad", "damaged: its bytes have rotted"]};
  const [kind, text] = words[copy.state] || ["warn", copy.state];
  return h("span", {class: kind}, visible(text));
}

function answerText(copy) {
  if (copy.reachable === undefined || copy.reachable === null) {
    return h("span", {class: "soft"}, "not asked yet");
  }
  return copy.reachable
    ? h("span", {class: "good"}, `up, ${copy.latency_ms.toFixed(1)} ms`)
    : h("span", {class: "bad"}, "down: " + visible(copy.error || "no answer"));
}

function contentText(disk, copy) {
  if (!copy.digest) {
    return h("span", {class: "soft"}, "not verified yet");
  }
  const group = disk.same_content.find(servers => servers.includes(copy.server)) || [];
  const others = group.filter(server => server !== copy.server).join(", ");
  return h("span", {title: visible(copy.digest)}, others ? `same as ${visible(others)}`
    : "verified");
}

function copies(disk) {
  return table("Copies", ["Server", "State", "Answers", "Last seen", "Format", "#Size", "Content"],
    disk.locations.map(copy => [
      visible(copy.server), stateText(copy), answerText(copy),
      copy.last_seen ? when(Date.parse(copy.last_seen)) : "never",
      visible(copy.format) + (copy.read_only ? "" : ", writable"), size(copy.size),
      contentText(disk, copy)]));
}

const kLines = [["virsh attach-device XML", "attach-xml"], ["virt-install", "virt-install"],
  ["qemu-img: copy", "qemu-img"], ["qemu-img: overlay", "overlay"], ["nbdcopy", "nbdcopy"],
  ["guestfish", "guestfish"], ["signpost files", "files"], ["signpost where", "where"],
  ["nbdinfo", "nbdinfo"]];

function pastes(disk) {
  if (!disk.uri) {
    return h("p", {class: "note"}, "This server has no --uri: it cannot say how it is reached.");
  }
  return h("div", {class: "frame"}, paste("NBD URI", disk.uri),
    kLines.filter(([, key]) => disk.lines[key]).map(([label, key]) =>
      paste(label, disk.lines[key])));
}

function pointList(names, all = false) {
  const newest = [...names].reverse();
  const some = all ? newest : newest.slice(0, 20);
  const list = h("ul", {class: "plain frame", "aria-label": "Restore points"},
    some.map(name => {
      const time = pointTime(name);
      return h("li", {}, nameLink(name), time ? [" · ", when(time)] : null);
    }));
  if (some.length < newest.length) {
    list.append(h("li", {}, h("button", {class: "link",
      click: () => list.replaceWith(pointList(names, true))}, `Show all ${newest.length}`)));
  }
  return list;
}

function explanation(name) {
  const body = h("div");
  return h("details", {id: "explain", toggle: async event => {
    if (!event.target.open || body.firstChild) {
      return;
    }
    body.append(loading("Asking…"));
    try {
      const told = await ask("explain", {name});
      body.replaceChildren(h("p", {class: "note"}, visible(told.result)),
        table("Order in which copies are tried",
          ["#Place", "Server", "State", "Site", "Heartbeat", "Why not"], told.steps.map(step => [
            step.place === null ? "–" : String(step.place), visible(step.server),
            stateText(step), visible(step.site || "–"), step.heartbeat_age_s === null ? "none"
              : `${span(step.heartbeat_age_s)} ago`, visible(step.passed_over || "")])));
    } catch (error) {
      body.replaceChildren(failure(error));
    }
  }}, h("summary", {}, "Explain: why from there?"), body);
}

function diskView(name, disk) {
  const [kind, text] = verdict(disk);
  const own = pointTime(name);
  const newest = disk.newest_point && pointTime(disk.newest_point);
  const button = h("button", {click: () => {
    button.textContent = "Asking…";
    showDisk(name, true);
  }}, "Ask the servers now");
  return [
    backLink(), h("h2", {class: "name", tabindex: "-1"}, visible(disk.disk)),
    h("p", {class: `verdict ${kind}`}, text),
    h("p", {class: "note"}, size(disk.size), own ? [" · restore point, ", when(own)] : null,
      newest ? [" · newest restore point ", when(newest)] : null,
      disk.writer ? ` · written to by ${visible(disk.writer.client)} at ` +
        visible(disk.writer.server) : null),
    h("h3", {}, "Where it lies"), copies(disk), h("div", {class: "tools"}, button),
    h("h3", {}, "Use it"), pastes(disk),
    disk.points.length ? [h("h3", {}, plural(disk.points.length, "restore point")),
      pointList(disk.points)] : null,
    explanation(disk.disk),
  ].flat().filter(part => part !== null);
}

function nothingChosen() {
  shown = {disk: null, asked: shown.asked + 1};
  const servers = h("p", {class: "verdict", role: "status"});
  const note = text => h("p", {class: "note"}, text);
  $("disk").replaceChildren(servers,
    note("Choose a disk to see where it lies, how old it is, and how to use it."),
    note("/ goes to the search, arrows choose, Enter opens, Escape goes back."));
  ask("servers").then(all => sayOfServers(servers, all)).catch(() => {});
}

function sayOfServers(place, servers) {
  const down = servers.filter(server => server.reachable === false).map(server => server.name);
  place.classList.add(down.length ? "bad" : "good");
  place.textContent = down.length
    ? `${down.length} of ${plural(servers.length, "server")} cannot be reached: ` +
      visible(down.slice(0, 10).join(", "))
    : servers.some(server => server.reachable) ? "All servers that have been asked answer." : "";
}
