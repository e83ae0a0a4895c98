// SPDX-License-Identifier: BSD-3-Clause
//
// Views: the address after # says what is shown.

const kViews = {sessions: [showSessions, 5000], servers: [showServers, 15000],
  findings: [showFindings, 0]};
let route = {view: "disks", disk: null, find: ""};
let timer = 0;   // until what is shown is asked for again
let typing = 0;  // until what is typed is looked for

function parseRoute() {
  const hash = location.hash.slice(1);
  if (kViews[hash]) {
    return {...route, view: hash};
  }
  const parameters = new URLSearchParams(hash.replaceAll("+", "%2B"));
  const disk = parameters.get("disk");
  return {view: "disks", disk, find: parameters.get("find") ?? (disk === null ? "" : route.find)};
}

async function show(fill, place) {
  try {
    await fill();
  } catch (error) {
    if (error.status || !place.firstChild) {
      place.replaceChildren(failure(error, () => show(fill, place)));
    }
  }
}

async function keep(view) {
  clearTimeout(timer);
  const [fill, interval] = kViews[view];
  if (!document.hidden) {
    await show(fill, $(view));
  }
  if (interval && route.view === view) {
    clearTimeout(timer);
    timer = setTimeout(keep, interval, view);
  }
}

function render() {
  clearTimeout(typing);
  route = parseRoute();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === route.view) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  for (const view of ["disks", "sessions", "servers", "findings"]) {
    $(view).hidden = view !== route.view;
  }
  clearTimeout(timer);
  if (route.view !== "disks") {
    keep(route.view);
    return;
  }
  $("disks").classList.toggle("open", route.disk !== null);
  if ($("search").value !== route.find) {
    $("search").value = route.find;
  }
  if (found.text !== route.find || found.error) {
    search(route.find);
  } else {
    draw();
  }
  if (route.disk === null) {
    nothingChosen();
  } else {
    showDisk(route.disk);
  }
}
