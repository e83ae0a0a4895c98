// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/stub_note.h"

#include <nlohmann/json.hpp>

namespace signpost {

namespace {

using Json = nlohmann::json;

constexpr int kNoteVersion = 1;

std::string text_in(const Json& note, const char* key) {
    const auto found = note.find(key);
    return found != note.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_in(const Json& note, const char* key) {
    const auto found = note.find(key);
    return found != note.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

std::optional<StubNote> parse_stub_note(const std::string& text) {
    const auto parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object() || number_in(parsed, "version") != kNoteVersion) {
        return std::nullopt;
    }
    StubNote note;
    note.server = text_in(parsed, "server");
    note.catalog = text_in(parsed, "catalog");
    note.sequence = number_in(parsed, "sequence");
    // A time that does not fit is none.
    const auto as_of = number_in(parsed, "as_of");
    note.as_of = as_of >> 40 == 0 ? static_cast<std::int64_t>(as_of) : 0;
    return note;
}

std::string stub_note_text(const StubNote& note) {
    const Json text{{"version", kNoteVersion},
                    {"server", note.server},
                    {"catalog", note.catalog},
                    {"sequence", note.sequence},
                    {"as_of", note.as_of}};
    return text.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace signpost
