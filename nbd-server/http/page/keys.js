// SPDX-License-Identifier: BSD-3-Clause
//
// Keys and clicks; and the beginning.

const findLink = text => text ? `#find=${encodeURIComponent(text)}` : "#";

// At once: between a change of the address and its event another key may come.
function go(hash) {
  history.pushState(null, "", hash);
  render();
}

function lookUp() {
  history.replaceState(null, "", findLink($("search").value));
  render();
}

function typed() {
  clearTimeout(typing);
  typing = setTimeout(lookUp, 150);
}

function searchKey(event) {
  const page = Math.max(1, Math.floor($("scroll").clientHeight / kRow) - 1);
  const steps = {ArrowDown: found.active + 1, ArrowUp: found.active - 1,
    PageDown: found.active + page, PageUp: found.active - page};
  if (event.key in steps) {
    move(steps[event.key]);
  } else if (event.key === "Enter" && found.items.length) {
    go(diskLink(found.items[Math.max(0, found.active)].name));
  } else if (event.key === "Escape" && $("search").value) {
    $("search").value = "";
    lookUp();
  } else {
    return;
  }
  event.preventDefault();
}

function pageKey(event) {
  if (event.defaultPrevented || $("signing").open ||
      event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const field = event.target.matches("input, textarea");
  if (event.key === "/" && !field) {
    event.preventDefault();
    if (route.view !== "disks" || (route.disk !== null && !$("finder").offsetWidth)) {
      go(findLink(route.find));
    }
    $("search").focus();
    $("search").select();
  } else if (event.key === "Escape" && (!field || !$("search").value) && location.hash.length > 1) {
    go(route.view === "disks" && route.disk !== null ? findLink(route.find) : "#");
    $("search").focus();
  }
}

async function sign(event) {
  event.preventDefault();
  const bytes = new TextEncoder().encode(`${$("name").value}:${$("password").value}`);
  try {
    await ask("login", {}, {headers:
      {Authorization: "Basic " + btoa(String.fromCharCode(...bytes))}});
    $("signing").close();
    startAgain();
  } catch (error) {
    $("refused").textContent = visible(error.message);
  }
  $("password").value = "";
}

// What may be seen is another now.
async function startAgain() {
  found.text = null;
  $("findings").replaceChildren();
  status = await ask("status").catch(() => status);
  showStatus();
  render();
}

async function signOrLeave() {
  if (status && status.user) {
    await ask("logout").catch(() => {});
    startAgain();
  } else {
    $("refused").textContent = "";
    $("signing").showModal();
  }
}

$("search").addEventListener("input", typed);
$("search").addEventListener("keydown", searchKey);
$("scroll").addEventListener("scroll", () => requestAnimationFrame(draw), {passive: true});
document.addEventListener("keydown", pageKey);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { render(); } });
window.addEventListener("hashchange", render);
window.addEventListener("resize", () => {
  draw();
  if (route.view === "servers") {
    keep("servers");
  }
});
$("sign").addEventListener("click", signOrLeave);
$("cancel").addEventListener("click", () => $("signing").close());
$("signing").querySelector("form").addEventListener("submit", sign);
setInterval(showGone, 1000);
render();
keepStatus();
if (!location.hash) {
  $("search").focus();
}
