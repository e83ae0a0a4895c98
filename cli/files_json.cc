// SPDX-License-Identifier: BSD-3-Clause

#include "cli/files_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/disk_name.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;

std::string dumped(const Json& json, int indent) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

std::string hex(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes) {
        text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    }
    return text;
}

Json line_json(const FileLine& line) {
    const files::Entry& entry = line.entry;
    Json json = {{"disk", line.disk},
                 {"path", line.path},
                 {"type", to_string(entry.type)},
                 {"mode", fmt::format("{:04o}", entry.mode)},
                 {"uid", entry.uid},
                 {"gid", entry.gid},
                 {"size", entry.size},
                 {"modified", or_null(rfc3339(entry.modified))},
                 {"target", or_null(entry.target)},
                 {"deleted", entry.deleted},
                 {"inode", entry.inode}};
    if (!is_utf8(line.path)) {
        json["path_hex"] = hex(line.path);
    }
    return json;
}

Json one_volume(const GuestVolume& volume) {
    const files::Partition& partition = volume.what;
    const bool has_place = partition.volume.length > 0;
    return {{"part", or_null(volume.name)},
            {"start", has_place ? Json(partition.volume.start) : Json(nullptr)},
            {"size", has_place ? Json(partition.volume.length) : Json(nullptr)},
            {"name", or_null(partition.name)},
            {"file_system", or_null(partition.file_system)},
            {"label", or_null(partition.label)},
            {"uuid", or_null(partition.uuid)},
            {"readable", partition.readable}};
}

}  // namespace

std::string_view to_string(files::FileType type) {
    switch (type) {
        case files::FileType::regular:
            return "file";
        case files::FileType::directory:
            return "directory";
        case files::FileType::symlink:
            return "symlink";
        case files::FileType::block_device:
            return "block-device";
        case files::FileType::character_device:
            return "character-device";
        case files::FileType::fifo:
            return "fifo";
        case files::FileType::socket:
            return "socket";
        case files::FileType::unknown:
            break;
    }
    return "unknown";
}

std::string file_json(const FileLine& line, bool indented) {
    return dumped(line_json(line), indented ? kIndent : -1);
}

std::string files_json(const std::vector<FileLine>& lines) {
    Json json = Json::array();
    for (const FileLine& line : lines) {
        json.push_back(line_json(line));
    }
    return dumped(json, kIndent);
}

std::string volume_json(const GuestVolume& volume) {
    return dumped(one_volume(volume), -1);
}

std::string volumes_json(const std::vector<GuestVolume>& volumes) {
    Json json = Json::array();
    for (const GuestVolume& each : volumes) {
        json.push_back(one_volume(each));
    }
    return dumped(json, kIndent);
}

}  // namespace signpost
