// SPDX-License-Identifier: BSD-3-Clause
//
// Streams of virtnbdbackup made by hand, for what it will not write. Good but for what the test
// changes.

#pragma once

#include <fmt/format.h>
#include <lz4frame.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace signpost::test {

inline std::string lz4(const std::string& plain, bool with_size = true) {
    LZ4F_preferences_t preferences{};
    preferences.frameInfo.contentSize = with_size ? plain.size() : 0;
    std::string packed(::LZ4F_compressFrameBound(plain.size(), &preferences), '\0');
    packed.resize(::LZ4F_compressFrame(packed.data(), packed.size(), plain.data(), plain.size(),
                                       &preferences));
    return packed;
}

struct BackupBytes {
    std::uint64_t size = 1 << 20;
    std::uint64_t data_bytes = 0;
    std::string date = "2026-11-20T02:00:03.123456";
    std::string disk = "vda";
    std::string checkpoint = "virtnbdbackup.0";
    std::string parent;
    std::string compressed = "false";
    std::string version = "2";
    std::string frames;
    std::string blocks;  // the list's content

    // One that is based on checkpoint NUMBER - 1.
    static BackupBytes increment(int number, std::string when) {
        BackupBytes made;
        made.checkpoint = fmt::format("virtnbdbackup.{}", number);
        made.parent = fmt::format("virtnbdbackup.{}", number - 1);
        made.date = std::move(when);
        return made;
    }

    static std::string head(std::string_view kind, std::uint64_t start, std::uint64_t length) {
        return fmt::format("{} {:016x} {:016x}\r\n", kind, start, length);
    }

    BackupBytes& data(std::uint64_t start, const std::string& content) {
        data_bytes += content.size();
        frames += head("data", start, content.size()) + content + "\r\n";
        return *this;
    }

    BackupBytes& zero(std::uint64_t start, std::uint64_t length) {
        frames += head("zero", start, length);
        return *this;
    }

    // PACKED as it is, of LENGTH bytes on the disk; listed as ENTRY.
    BackupBytes& block(std::uint64_t start, std::uint64_t length, const std::string& packed,
                       const std::string& entry) {
        compressed = "2";
        data_bytes += length;
        frames += head("data", start, length) + packed + "\r\n";
        blocks += (blocks.empty() ? "" : ", ") + entry;
        return *this;
    }

    BackupBytes& block(std::uint64_t start, const std::string& content) {
        const std::string packed = lz4(content);
        return block(start, content.size(), packed, std::to_string(packed.size()));
    }

    std::string meta() const {
        return fmt::format(
            R"({{"virtualSize": {}, "dataSize": {}, "date": "{}", "diskName": "{}",)"
            R"( "diskFormat": "qcow2", "checkpointName": "{}", "compressed": {},)"
            R"( "compressionMethod": "lz4", "parentCheckpoint": "{}", "incremental": {},)"
            R"( "streamVersion": {}}})",
            size, data_bytes, date, disk, checkpoint, compressed, parent,
            parent.empty() ? "false" : "true", version);
    }

    std::string bytes() const {
        std::string all = head("meta", 0, meta().size()) + meta() + "\r\n" + frames;
        all += head("stop", 0, 0);
        if (compressed != "false") {
            const std::string list = "[" + blocks + "]";
            all += list + "\r\n" + head("comp", 0, list.size());
        }
        return all;
    }
};

}  // namespace signpost::test
