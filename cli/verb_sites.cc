// SPDX-License-Identifier: BSD-3-Clause
//
// `sites`: what it costs to get from one site to another, as the order of locations has it.

#include <fmt/format.h>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {{"from"}, {"to"}, {"cost", true}};

}  // namespace

VerbResult run(const Context& context, const SitesListVerb& /*verb*/) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto costs = view->catalog().site_costs();
    if (!costs) {
        return std::unexpected(catalog_failure(costs.error()));
    }
    if (context.json()) {
        JsonList list(context.options.json == JsonMode::lines);
        for (const SiteCost& cost : *costs) {
            context.console.out(list.item(site_cost_json(cost)));
        }
        context.console.out(list.end());
        return ExitCode::ok;
    }
    Table table(kColumns, context.options.table);
    for (const SiteCost& cost : *costs) {
        table.add({{escaped(cost.from)}, {escaped(cost.to)}, {std::to_string(cost.cost)}});
    }
    table.write(context.console);
    return ExitCode::ok;
}

VerbResult run(const Context& context, const SitesCostVerb& verb) {
    const auto view = FederationView::open(context.options, CatalogUse::write);
    if (!view) {
        return std::unexpected(view.error());
    }
    if (const auto put = view->catalog().put_site_cost(verb.cost); !put) {
        return std::unexpected(catalog_failure(put.error()));
    }
    SiteCost shown = verb.cost;
    shown.cost = shown.cost < 0 ? kDefaultSiteCost : shown.cost;
    context.console.out(
        context.json() ? site_cost_json(shown) + "\n"
                       : fmt::format("between {} and {}: {}\n", shown.from, shown.to, shown.cost));
    return ExitCode::ok;
}

}  // namespace signpost
