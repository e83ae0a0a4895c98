// SPDX-License-Identifier: BSD-3-Clause
//
// `catalog init`: makes the catalog, or says that it is there; its roles get their rights.

#include <fmt/format.h>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"

namespace signpost {

VerbResult run(const Context& context, const CatalogInitVerb& /*verb*/) {
    const bool existed =
        open_catalog(context.options.catalog, OpenMode::existing, CatalogUser::person).has_value();
    const auto view = FederationView::open(context.options, CatalogUse::write);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto notes = view->catalog().grant_rights();
    if (!notes) {
        return std::unexpected(catalog_failure(notes.error()));
    }
    for (const std::string& note : *notes) {
        context.console.note(note);
    }
    const std::string description = view->catalog().description();
    context.console.out(context.json() ? catalog_json(description) + "\n"
                                       : fmt::format("{}: {}\n", escaped(description, 400),
                                                     existed ? "is there already" : "made"));
    return ExitCode::ok;
}

}  // namespace signpost
