// SPDX-License-Identifier: BSD-3-Clause
//
// The sessions of this server, with the throughput of five minutes.

const kWidth = 300, kHeight = 40;

// The newest sample is at the right edge, five minutes ago at the left one.
function curve(samples, label) {
  const count = 60;
  const top = Math.max(1, ...samples);
  const at = samples.slice(-count).map((value, i, all) => {
    const x = kWidth - (all.length - 1 - i) * kWidth / (count - 1);
    return `${x.toFixed(1)},${(kHeight - 2 - value / top * (kHeight - 4)).toFixed(1)}`;
  });
  return svg("svg", {viewBox: `0 0 ${kWidth} ${kHeight}`, width: "100%", height: kHeight,
    preserveAspectRatio: "none", role: "img", "aria-label": label},
  at.length > 1 ? [svg("polygon", {class: "under", points: `${at[0].split(",")[0]},${kHeight} ` +
    `${at.join(" ")} ${kWidth},${kHeight}`}),
  svg("polyline", {class: "curve", points: at.join(" ")})] : []);
}

function sumOf(sessions) {
  const sum = Array(60).fill(0);
  for (const {samples} of sessions) {
    samples.slice(-60).forEach((value, i, all) => { sum[60 - all.length + i] += value; });
  }
  return sum;
}

function routeText(session) {
  return {local: "from this server", cache: "from this server's cache"}[session.route] ||
    `relayed from ${visible(session.peer || "a peer")}`;
}

const curveLabel = samples => `Five minutes of throughput: now ${rate(samples.at(-1) || 0)}, ` +
  `at most ${rate(Math.max(0, ...samples))}`;

async function showSessions() {
  const {sessions} = await ask("sessions");
  const kMost = 100;
  sessions.sort((a, b) => b.bytes_per_second - a.bytes_per_second || b.since_s - a.since_s);
  const sum = sumOf(sessions);
  refill($("sessions"),
    h("h2", {}, sessions.length ? `${plural(sessions.length, "session")}, ${rate(sum.at(-1))}`
      : "No client is connected"),
    sessions.length ? h("div", {class: "total"}, curve(sum, curveLabel(sum)),
      h("p", {class: "note"}, `The last five minutes; at most ${rate(Math.max(...sum))}.`)) : "",
    sessions.length ? table("Sessions",
      ["Disk", "Client", "Route", "#Now", "#Read", "#Written", "Since", "Five minutes"],
      sessions.slice(0, kMost).map(session => [
        nameLink(session.disk), visible(session.client) + (session.tls ? ", TLS" : ""),
        routeText(session), rate(session.bytes_per_second), size(session.read_bytes),
        size(session.written_bytes), when(session.since_s * 1000),
        curve(session.samples, curveLabel(session.samples))])) : "",
    sessions.length > kMost ? h("p", {class: "note"}, `The busiest ${kMost} are shown; ` +
      "signpost sessions shows all.") : "");
}
