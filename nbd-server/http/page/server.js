// SPDX-License-Identifier: BSD-3-Clause
//
// Questions to the server; since when it is away; what it says of itself.

let goneSince = null;

// What the API says. Throws Error with `status`: 0 if there was no answer.
async function ask(place, parameters = {}, options = {}) {
  let response, json;
  const seconds = place === "doctor" || parameters.check ? 180 : 20;
  const limit = AbortSignal.timeout(seconds * 1000);
  try {
    response = await fetch(`/api/v1/${place}?${new URLSearchParams(parameters)}`,
      {...options, signal: limit});
    json = await response.json();
  } catch {
    reachable(false);
    throw Object.assign(new Error("The server does not answer."), {status: 0});
  }
  reachable(true);
  const date = Date.parse(response.headers.get("Date"));
  if (Math.abs(date - Date.now()) > 5000) {
    ahead = date - Date.now();
  }
  if (!response.ok) {
    throw Object.assign(new Error(json.error || `The server says ${response.status}.`),
      {status: response.status});
  }
  return json;
}

function reachable(answers) {
  if (answers && goneSince !== null) {
    goneSince = null;
    setTimeout(render);
  } else if (!answers && goneSince === null) {
    goneSince = Date.now();
  }
  showGone();
}

function showGone() {
  const gone = goneSince !== null;
  $("gone").hidden = !gone;
  document.querySelector("main").classList.toggle("away", gone);
  if (gone) {
    const since = new Date(goneSince).toLocaleTimeString("en-GB");
    $("gone").textContent = `This server has not answered since ${since} ` +
      `(${span((Date.now() - goneSince) / 1000)}). What is shown is from before. Trying again…`;
  }
}

let status = null;
let down = new Set();  // names of servers that did not answer when they were asked

async function keepStatus() {
  try {
    status = await ask("status");
    showStatus();
    down = new Set((await ask("servers")).filter(server => server.reachable === false)
      .map(server => server.name));
    draw();  // it says how many there are
  } catch (error) {
    if (error.status) {
      $("facts").textContent = visible(error.message);
    }
  }
  setTimeout(keepStatus, goneSince === null ? 10000 : 2000);
}

function showStatus() {
  const away = status.knowledge !== "catalog";
  $("facts").textContent = visible(status.server) + (away ? "" :
    ` · ${plural(status.disks, "disk")} · ${plural(status.locations, "copy", "copies")}`) +
    ` · ${plural(status.servers.length, "server")} · ${plural(status.live_sessions, "session")}`;
  document.title = `Signpost: ${visible(status.server)}`;
  $("stubs").hidden = !away;
  if (away) {
    $("stubs").replaceChildren("The catalog does not answer. What is shown is what this server ",
      "remembers", ...(status.as_of ? [", as of ", when(Date.parse(status.as_of))] : []),
      `. ${visible(status.catalog_error || "")}`);
  }
  $("user").textContent = status.user ? visible(status.user) : "";
  $("sign").hidden = !status.sign_in;
  $("sign").textContent = status.user ? "Sign out" : "Sign in";
}
