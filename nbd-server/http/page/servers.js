// SPDX-License-Identifier: BSD-3-Clause
//
// The servers, and the links from this one to the others.

function linkOf(server) {
  return server.name === (status && status.server) ? ["good", "this server"]
    : server.reachable === null ? ["soft", "not asked yet"]
    : server.reachable ? [server.draining ? "warn" : "good", `${server.latency_ms.toFixed(1)} ms`]
    : ["bad", "down"];
}

const short = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

const kMostDrawn = 16;

function map(servers) {
  const own = servers.find(server => server.name === (status && status.server));
  const peers = servers.filter(server => server !== own)
    .sort((a, b) => (b.reachable === false) - (a.reachable === false)).slice(0, kMostDrawn);
  const width = Math.min($("servers").clientWidth - 24, 760);
  const height = peers.length > 6 ? 380 : peers.length > 2 ? 260 : 130;
  const x = width / 2, y = height / 2;
  const node = (server, x, y) => svg("g", {class: linkOf(server)[0]},
    svg("circle", {cx: x, cy: y, r: server === own ? 11 : 8}),
    svg("text", {x, y: y + 25, "text-anchor": "middle"}, short(visible(server.name), 14)),
    svg("text", {x, y: y + 40, "text-anchor": "middle", class: "soft"}, linkOf(server)[1]));
  const around = peers.map((server, i) => {
    const angle = (i + .5) / peers.length * 2 * Math.PI - (peers.length === 2 ? Math.PI / 2 : 0);
    return [server, x + Math.cos(angle) * (width / 2 - 60), y - 14 + Math.sin(angle) * (y - 40)];
  });
  const down = peers.filter(server => server.reachable === false).length;
  return svg("svg", {class: "map", width, height, role: "img", "aria-label":
    `Links from this server to ${plural(peers.length, "peer")}, ${down} down`},
  around.map(([server, toX, toY]) => svg("g", {class: linkOf(server)[0]},
    svg("line", {x1: x, y1: y - 14, x2: toX, y2: toY}))),
  around.map(([server, toX, toY]) => node(server, toX, toY)),
  own ? node(own, x, y - 14) : []);
}

async function showServers() {
  const servers = await ask("servers");
  const kMost = 500;
  $("servers").replaceChildren(h("h2", {}, plural(servers.length, "server")),
    h("p", {class: "note"}, "Asked every quarter of a minute." + (servers.length > kMostDrawn + 1
      ? ` The map has ${kMostDrawn} of them, those that are down first.` : "")), map(servers),
    table("Servers", ["Server", "Link", "Site", "Kind", "Heartbeat", "#Sessions", "URIs"],
      servers.slice(0, kMost).map(server => [
        visible(server.name),
        h("span", {class: linkOf(server)[0]}, linkOf(server)[1],
          server.draining ? ", being drained" : "",
          server.error ? `: ${visible(server.error)}` : ""),
        visible(server.site || "–"), visible(server.kind),
        server.heartbeat_age_s === null ? "none" : `${span(server.heartbeat_age_s)} ago`,
        server.sessions === null ? "–" : String(server.sessions),
        server.uris.length ? visible(server.uris.join(" ")) : "none"])));
}
