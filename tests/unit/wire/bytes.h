// SPDX-License-Identifier: BSD-3-Clause
//
// Server bytes for the tests, written by hand field by field, so that the tests do not share the
// product's own structs and cannot repeat a mistake in them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace signpost::wire::test {

class Bytes {
 public:
    Bytes& number(std::uint64_t value, int bytes) {
        for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
            out_ += static_cast<char>(value >> shift & 0xff);
        }
        return *this;
    }
    Bytes& u16(std::uint64_t value) { return number(value, 2); }
    Bytes& u32(std::uint64_t value) { return number(value, 4); }
    Bytes& u64(std::uint64_t value) { return number(value, 8); }
    Bytes& text(std::string_view text) {
        out_ += text;
        return *this;
    }
    Bytes& fill(std::size_t n, char with) {
        out_.append(n, with);
        return *this;
    }

    operator const std::string&() const { return out_; }
    const std::string& str() const { return out_; }

 private:
    std::string out_;
};

inline std::span<const std::byte> as_span(std::string_view bytes) {
    return std::as_bytes(std::span(bytes));
}

// Handshake, server side.

inline std::string greeting(std::uint16_t flags = 3) {
    return Bytes().text("NBDMAGIC").text("IHAVEOPT").u16(flags);
}

inline std::string option_reply(std::uint32_t option, std::uint32_t type,
                                std::string_view data = {}) {
    return Bytes().u64(0x3e889045565a9).u32(option).u32(type).u32(data.size()).text(data);
}

inline constexpr std::uint32_t kExportName = 1;
inline constexpr std::uint32_t kAbort = 2;
inline constexpr std::uint32_t kStarttls = 5;
inline constexpr std::uint32_t kGo = 7;
inline constexpr std::uint32_t kStructured = 8;
inline constexpr std::uint32_t kSetMeta = 10;

inline constexpr std::uint32_t kAck = 1;
inline constexpr std::uint32_t kInfo = 3;
inline constexpr std::uint32_t kMetaContext = 4;
inline constexpr std::uint32_t kUnsup = 0x80000001;
inline constexpr std::uint32_t kPolicy = 0x80000002;
inline constexpr std::uint32_t kInvalid = 0x80000003;
inline constexpr std::uint32_t kPlatform = 0x80000004;
inline constexpr std::uint32_t kTlsReqd = 0x80000005;
inline constexpr std::uint32_t kUnknown = 0x80000006;
inline constexpr std::uint32_t kShutdown = 0x80000007;
inline constexpr std::uint32_t kBlockSizeReqd = 0x80000008;

inline std::string export_info(std::uint64_t size, std::uint16_t flags) {
    return option_reply(kGo, kInfo, Bytes().u16(0).u64(size).u16(flags).str());
}

inline std::string block_size_info(std::uint32_t minimum, std::uint32_t preferred,
                                   std::uint32_t maximum) {
    return option_reply(kGo, kInfo, Bytes().u16(3).u32(minimum).u32(preferred).u32(maximum).str());
}

inline std::string description_info(std::string_view text) {
    return option_reply(kGo, kInfo, Bytes().u16(2).text(text).str());
}

inline std::string meta_context(std::uint32_t id, std::string_view name) {
    return option_reply(kSetMeta, kMetaContext, Bytes().u32(id).text(name).str());
}

// What the client sends.

inline std::string option(std::uint32_t number, std::string_view data = {}) {
    return Bytes().text("IHAVEOPT").u32(number).u32(data.size()).text(data);
}

inline std::string set_meta_option(std::string_view name) {
    return option(kSetMeta,
                  Bytes().u32(name.size()).text(name).u32(1).u32(15).text("base:allocation").str());
}

inline std::string go_option(std::string_view name) {
    return option(kGo, Bytes().u32(name.size()).text(name).u16(2).u16(3).u16(2).str());
}

// Transmission, client side.

inline std::string request(std::uint16_t command, std::uint16_t flags, std::uint64_t cookie,
                           std::uint64_t offset, std::uint32_t length) {
    return Bytes().u32(0x25609513).u16(flags).u16(command).u64(cookie).u64(offset).u32(length);
}

inline std::string extended_request(std::uint16_t command, std::uint16_t flags,
                                    std::uint64_t cookie, std::uint64_t offset,
                                    std::uint64_t length) {
    return Bytes().u32(0x21e41c71).u16(flags).u16(command).u64(cookie).u64(offset).u64(length);
}

// Transmission, server side.

inline std::string simple_reply(std::uint64_t cookie, std::uint32_t error,
                                std::string_view data = {}) {
    return Bytes().u32(0x67446698).u32(error).u64(cookie).text(data);
}

inline constexpr std::uint16_t kDone = 1;

inline std::string chunk(std::uint64_t cookie, std::uint16_t flags, std::uint16_t type,
                         std::string_view payload = {}) {
    return Bytes()
        .u32(0x668e33ef)
        .u16(flags)
        .u16(type)
        .u64(cookie)
        .u32(payload.size())
        .text(payload);
}

inline std::string none(std::uint64_t cookie) {
    return chunk(cookie, kDone, 0);
}

inline std::string data_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint64_t offset,
                              std::string_view data) {
    return chunk(cookie, flags, 1, Bytes().u64(offset).text(data).str());
}

inline std::string hole_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint64_t offset,
                              std::uint32_t size) {
    return chunk(cookie, flags, 2, Bytes().u64(offset).u32(size).str());
}

inline std::string status_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint32_t context,
                                std::span<const std::pair<std::uint32_t, std::uint32_t>> extents) {
    Bytes body;
    body.u32(context);
    for (const auto& [length, state] : extents) {
        body.u32(length).u32(state);
    }
    return chunk(cookie, flags, 5, body.str());
}

inline std::string error_chunk(std::uint64_t cookie, std::uint16_t flags, std::uint32_t error,
                               std::string_view message = {}) {
    return chunk(cookie, flags, 0x8001, Bytes().u32(error).u16(message.size()).text(message).str());
}

inline std::string error_offset_chunk(std::uint64_t cookie, std::uint16_t flags,
                                      std::uint32_t error, std::string_view message,
                                      std::uint64_t offset) {
    return chunk(cookie, flags, 0x8002,
                 Bytes().u32(error).u16(message.size()).text(message).u64(offset).str());
}

}  // namespace signpost::wire::test
