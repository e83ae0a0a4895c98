// SPDX-License-Identifier: BSD-3-Clause

// Before anything else: see there.
#include "nbd-server/disk/toml.h"

#include "nbd-server/disk/wished_copies.h"

#include <fmt/format.h>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxEntries = 1000;

std::unexpected<Error> mistake(const std::string& file, const toml::source_region& at,
                               std::string_view message) {
    return fail(Errc::invalid,
                fmt::format("{}:{}:{}: {}", file, at.begin.line, at.begin.column, message));
}

Result<WishedCopies> read_entry(const toml::table& table, const std::string& file) {
    for (const auto& [key, node] : table) {
        if (key.str() != "disks" && key.str() != "copies") {
            return mistake(file, key.source(),
                           fmt::format("unknown key {} in [[copies]]; it has disks and copies",
                                       escaped(key.str(), 64)));
        }
    }
    const auto* disks = table.get_as<std::string>("disks");
    if (disks == nullptr || disks->get().empty() || disks->get().size() > DiskName::kMaxBytes) {
        return mistake(file, table.source(),
                       "copies: disks is missing: a pattern of disk names, as \"db/*\"");
    }
    const auto* copies = table.get_as<std::int64_t>("copies");
    if (copies == nullptr || copies->get() < 1 || copies->get() > kMostCopies) {
        return mistake(
            file, table.source(),
            fmt::format("copies: copies is missing: a number from 1 to {}", kMostCopies));
    }
    return WishedCopies{disks->get(), static_cast<unsigned>(copies->get())};
}

}  // namespace

Result<std::vector<WishedCopies>> parse_wished_copies(std::string_view text,
                                                      const std::string& file) {
    const toml::parse_result parsed = toml::parse(text, file);
    if (!parsed) {
        return mistake(file, parsed.error().source(), escaped(parsed.error().description(), 400));
    }
    const toml::node* node = parsed.table().get("copies");
    std::vector<WishedCopies> wishes;
    if (node == nullptr) {
        return wishes;
    }
    const toml::array* list = node->as_array();
    if (list == nullptr || !list->is_homogeneous(toml::node_type::table)) {
        return mistake(file, node->source(),
                       "copies: begin each entry with [[copies]], in two brackets; to refuse "
                       "copies, say copies = \"off\" in [limits]");
    }
    for (const toml::node& each : *list) {
        auto wish = read_entry(*each.as_table(), file);
        if (!wish) {
            return std::unexpected(wish.error());
        }
        if (wishes.size() >= kMaxEntries) {
            return mistake(file, each.source(), "copies: too many entries");
        }
        wishes.push_back(std::move(*wish));
    }
    return wishes;
}

}  // namespace signpost
