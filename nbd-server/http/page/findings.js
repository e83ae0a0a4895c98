// SPDX-License-Identifier: BSD-3-Clause
//
// What the doctor finds. It takes its time, so it is only asked when somebody wants it.

async function showFindings() {
  const place = $("findings");
  if (!place.firstChild || place.querySelector("[role=alert]")) {
    place.replaceChildren(loading("The doctor looks at catalog, servers and disks…"));
  }
  const {failures, warnings, findings} = await ask("doctor");
  const rank = {fail: 0, warn: 1, ok: 2};
  findings.sort((a, b) => rank[a.level] - rank[b.level]);
  const kinds = {fail: "bad", warn: "warn", ok: "good"};
  place.replaceChildren(
    h("h2", {}, failures || warnings
      ? `${plural(failures, "failure")}, ${plural(warnings, "warning")}` : "All is well"),
    h("p", {class: "note"}, "Examined ", when(Date.now() + ahead)),
    h("div", {class: "tools"}, h("button", {click: event => {
      event.target.textContent = "Looking…";
      show(showFindings, place);
    }}, "Look again")), h("h3", {}, "Findings"),
    h("ul", {class: "plain frame", "aria-label": "Findings"}, findings.map(finding => h("li", {},
      h("strong", {class: kinds[finding.level]}, visible(finding.level)),
      ` ${visible(finding.check)}: ${visible(finding.message)}`,
      finding.fix ? h("div", {class: "note"}, `fix: ${visible(finding.fix)}`) : null))));
}
