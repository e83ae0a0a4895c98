// SPDX-License-Identifier: BSD-3-Clause
//
// StubNote is what a server writes down beside its stubs: whose they are, of which catalog, and as
// of when they were true. JSON, because it is also for people and scripts. It is not trusted: what
// does not fit is as if it were not there.
//
// Values and pure functions. Threads: any.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace signpost {

// What is known of the stubs as a whole.
struct StubNote {
    std::string server = {};
    std::string catalog = {};    // describe_catalog_url
    std::uint64_t sequence = 0;  // the catalog's change sequence that they agree with; 0: none
    std::int64_t as_of = 0;      // all of them were true then, or later; 0: not known

    bool operator==(const StubNote&) const = default;
};

// Nothing when the text is no such note.
std::optional<StubNote> parse_stub_note(const std::string& text);
std::string stub_note_text(const StubNote& note);

}  // namespace signpost
