// SPDX-License-Identifier: BSD-3-Clause
//
// Image headers made by hand, for what qemu-img will not write: hostile ones.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "nbd-server/disk/image_header.h"

namespace signpost::test {

template <class T>
void put_big(std::string& bytes, std::size_t at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        bytes[at + i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
    }
}

template <class T>
void put_little(std::string& bytes, std::size_t at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        bytes[at + i] = static_cast<char>(value >> (8 * i));
    }
}

// A version 3 image of 64 KiB clusters, good but for what the test changes.
struct Qcow2Bytes {
    std::string bytes = std::string(65536, '\0');
    std::size_t next_extension = 104;

    explicit Qcow2Bytes(std::uint64_t size = 1 << 20) {
        put_big<std::uint32_t>(bytes, 0, 0x514649fb);
        put_big<std::uint32_t>(bytes, 4, 3);
        put_big<std::uint32_t>(bytes, 20, 16);
        put_big<std::uint64_t>(bytes, 24, size);
        put_big<std::uint32_t>(bytes, 36, 1);        // L1 entries: up to 512 MiB
        put_big<std::uint64_t>(bytes, 40, 3 << 16);  // L1 table
        put_big<std::uint32_t>(bytes, 96, 4);        // refcount order
        put_big<std::uint32_t>(bytes, 100, 104);     // header length
    }

    Qcow2Bytes& incompatible(std::uint64_t bits) {
        put_big<std::uint64_t>(bytes, 72, bits);
        return *this;
    }

    // Before any extension.
    Qcow2Bytes& compression(char type) {
        put_big<std::uint32_t>(bytes, 100, 112);
        bytes[104] = type;
        next_extension = 112;
        return *this;
    }

    Qcow2Bytes& extension(std::uint32_t type, std::string_view data) {
        put_big<std::uint32_t>(bytes, next_extension, type);
        put_big<std::uint32_t>(bytes, next_extension + 4, static_cast<std::uint32_t>(data.size()));
        bytes.replace(next_extension + 8, data.size(), data);
        next_extension += 8 + (data.size() + 7) / 8 * 8;
        return *this;
    }

    // An empty FORMAT leaves the extension out.
    Qcow2Bytes& backing(std::string_view file, std::string_view format) {
        if (!format.empty()) {
            extension(0xe2792aca, format);
        }
        put_big<std::uint64_t>(bytes, 8, next_extension + 8);
        put_big<std::uint32_t>(bytes, 16, static_cast<std::uint32_t>(file.size()));
        bytes.replace(next_extension + 8, file.size(), file);
        return *this;
    }
};

// The header of what BYTES are, if they were a file.
inline Result<ImageHeader> header_of(ImageFormat format, const std::string& bytes) {
    const ImageBytes source{
        .size = bytes.size(),
        .read_at = [&](std::uint64_t offset, std::span<std::byte> out) -> Result<void> {
            if (offset > bytes.size() || out.size() > bytes.size() - offset) {
                return fail(Errc::io, "the reader asked for bytes beyond the file");
            }
            std::memcpy(out.data(), bytes.data() + offset, out.size());
            return {};
        }};
    return read_image_header(format, source);
}

}  // namespace signpost::test
