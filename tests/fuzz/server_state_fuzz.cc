// SPDX-License-Identifier: BSD-3-Clause
//
// What a server reads of its own state and of an operator's wishes: the note beside the stubs, and
// how many copies there are to be. The first byte says which.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "nbd-server/disk/stub_note.h"
#include "nbd-server/disk/wished_copies.h"

namespace {

using namespace signpost;

void require(bool holds) {
    if (!holds)
        abort();
}

void check_note(const std::string& text) {
    const auto note = parse_stub_note(text);
    if (!note)
        return;
    require(note->as_of >= 0);
    require(parse_stub_note(stub_note_text(*note)) == note);
}

void check_wishes(std::string_view text) {
    const auto wishes = parse_wished_copies(text, "copies.toml");
    if (!wishes) {
        require(wishes.error().message.starts_with("copies.toml"));
        require(wishes.error().message.find('\n') == std::string::npos);
        return;
    }
    for (const WishedCopies& wish : *wishes)
        require(wish.copies >= 1 && wish.copies <= kMostCopies && !wish.disks.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    if (data[0] % 2 == 0)
        check_note(std::string(text));
    else
        check_wishes(text);
    return 0;
}
