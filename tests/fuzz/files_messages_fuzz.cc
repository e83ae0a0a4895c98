// SPDX-License-Identifier: BSD-3-Clause
//
// What a file reader that has been taken over may say to the command. Whatever is understood is
// within the bounds that the command relies on, and says the same when it is said again.

#include <cstdlib>
#include <string_view>

#include "files/messages.h"

using namespace signpost::files;  // NOLINT

namespace {

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

void check(const Answer& answer) {
    if (const auto* entry = std::get_if<Entry>(&answer)) {
        require(entry->name.empty() || is_component(entry->name));
        require(entry->target.size() <= kMaxText && entry->size <= INT64_MAX);
    } else if (const auto* piece = std::get_if<Piece>(&answer)) {
        require(piece->length > 0 && piece->offset + piece->length > piece->offset);
        require(piece->bytes.size() <= kMaxRead);
    } else if (const auto* want = std::get_if<Want>(&answer)) {
        require(want->length > 0 && want->length <= kMaxRead);
    } else if (const auto* ahead = std::get_if<Ahead>(&answer)) {
        require(ahead->ranges.size() <= kMaxRanges);
    } else if (const auto* unlocked = std::get_if<Unlocked>(&answer)) {
        require(unlocked->sector >= 512 && unlocked->volume.length % unlocked->sector == 0);
        require(unlocked->key.size() <= kMaxKey && unlocked->cipher.size() <= kMaxKey);
    } else if (const auto* partition = std::get_if<Partition>(&answer)) {
        require(partition->volume.start <= UINT64_MAX - partition->volume.length);
    }
}

// A whole frame is understood as it was said.
template <class Message>
void say_again(const Message& message, std::string_view frame) {
    const std::string again = encode(message);
    const auto length = frame_length(again);
    require(length && *length && **length == again.size() - kFrameHead);
    require(again.substr(kFrameHead) == frame);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    for (;;) {
        const auto length = frame_length(rest);
        if (!length || !*length) {
            return 0;
        }
        require(**length <= kMaxFrame && **length <= rest.size() - kFrameHead);
        const std::string_view frame = rest.substr(kFrameHead, **length);
        if (const auto answer = decode_answer(frame)) {
            check(*answer);
            say_again(*answer, frame);
        }
        if (const auto question = decode_question(frame)) {
            (void)encode(*question);
        }
        rest.remove_prefix(kFrameHead + **length);
    }
}
