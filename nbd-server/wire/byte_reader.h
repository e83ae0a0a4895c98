// SPDX-License-Identifier: BSD-3-Clause
//
// ByteReader takes big-endian values off the front of a span that came from outside. It cannot read
// past the end: a take that does not fit gives zero or nothing, takes nothing, and makes ok() false
// for good. So a parser takes all its fields and asks once.
//
// Lifetime: the bytes outlive the reader and the spans that it gives. A value; no thread rule.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

class ByteReader {
 public:
    explicit ByteReader(std::span<const std::byte> bytes) : left_(bytes) {}
    explicit ByteReader(std::string_view bytes) : ByteReader(std::as_bytes(std::span(bytes))) {}

    bool ok() const { return ok_; }
    std::size_t left() const { return left_.size(); }

    // A wire struct, or a Be16, Be32 or Be64; all zero when it does not fit.
    template <class Wire>
    Wire take() {
        static_assert(alignof(Wire) == 1 && std::is_trivially_copyable_v<Wire>);
        Wire value;
        const auto bytes = take_bytes(sizeof value);
        if (bytes.empty()) {
            std::memset(static_cast<void*>(&value), 0, sizeof value);
        } else {
            std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof value);
        }
        return value;
    }

    std::uint16_t take_u16() { return take<Be16>(); }
    std::uint32_t take_u32() { return take<Be32>(); }
    std::uint64_t take_u64() { return take<Be64>(); }

    std::span<const std::byte> take_bytes(std::size_t n) {
        if (n > left_.size()) {
            ok_ = false;
            return {};
        }
        const auto taken = left_.first(n);
        left_ = left_.subspan(n);
        return taken;
    }

    std::string_view take_text(std::size_t n) {
        const auto taken = take_bytes(n);
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }

    std::string_view take_rest() { return take_text(left_.size()); }

 private:
    std::span<const std::byte> left_;
    bool ok_ = true;
};

}  // namespace signpost::wire
