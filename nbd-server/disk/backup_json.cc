// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/backup_json.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace signpost {

namespace {

using Json = nlohmann::json;

const Json* find(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
}

bool take(const Json& object, const char* key, std::uint64_t& to) {
    const Json* value = find(object, key);
    if (value == nullptr || !value->is_number_unsigned()) {
        return false;
    }
    to = value->get<std::uint64_t>();
    return true;
}

bool take(const Json& object, const char* key, std::string& to) {
    const Json* value = find(object, key);
    if (value == nullptr || !value->is_string()) {
        return false;
    }
    to = value->get<std::string>();
    return true;
}

bool take(const Json& object, const char* key, bool& to) {
    const Json* value = find(object, key);
    if (value == nullptr || !value->is_boolean()) {
        return false;
    }
    to = value->get<bool>();
    return true;
}

// [SIZE, {"SUM": [SIZE, SIZE]}, SIZE]: read without keeping it, because it may be long.
class BlockReader final : public nlohmann::json_sax<Json> {
   public:
    explicit BlockReader(std::size_t most) : most_(most) {}

    bool null() override { return false; }
    bool boolean(bool) override { return false; }
    bool number_integer(number_integer_t) override { return false; }
    bool number_float(number_float_t, const string_t&) override { return false; }
    bool string(string_t&) override { return false; }
    bool binary(binary_t&) override { return false; }
    bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
        return false;
    }

    bool number_unsigned(number_unsigned_t value) override {
        if (value == 0 || value > std::numeric_limits<std::uint32_t>::max() ||
            blocks.sizes.size() == most_) {
            return false;
        }
        blocks.sizes.push_back(static_cast<std::uint32_t>(value));
        if (depth_ == kList) {
            blocks.counts.push_back(1);
            return true;
        }
        if (depth_ == kInner) {
            ++blocks.counts.back();
            return true;
        }
        return false;
    }

    bool start_array(std::size_t) override {
        if (depth_ != kNothing && (depth_ != kObject || keys_ != 1)) {
            return false;
        }
        ++depth_;
        return true;
    }
    bool end_array() override {
        --depth_;
        return true;
    }
    bool start_object(std::size_t) override {
        if (depth_ != kList || blocks.counts.size() == most_) {
            return false;
        }
        keys_ = 0;
        blocks.counts.push_back(0);
        ++depth_;
        return true;
    }
    bool key(string_t&) override { return ++keys_ == 1; }
    bool end_object() override {
        --depth_;
        return blocks.counts.back() > 0;
    }

    BackupBlocks blocks;

   private:
    static constexpr int kNothing = 0;
    static constexpr int kList = 1;
    static constexpr int kObject = 2;
    static constexpr int kInner = 3;

    const std::size_t most_;
    int depth_ = kNothing;
    int keys_ = 0;
};

}  // namespace

std::optional<BackupMetaText> parse_backup_meta(std::string_view text) {
    const auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
        return std::nullopt;
    }
    BackupMetaText found;
    BackupMeta& meta = found.meta;
    const Json* compressed = find(json, "compressed");
    if (!take(json, "virtualSize", meta.size) || !take(json, "dataSize", meta.data_bytes) ||
        !take(json, "date", meta.date) || !take(json, "diskName", meta.disk) ||
        !take(json, "checkpointName", meta.checkpoint) ||
        !take(json, "parentCheckpoint", meta.parent) ||
        !take(json, "incremental", meta.incremental) ||
        !take(json, "streamVersion", found.version)) {
        return std::nullopt;
    }
    // False, or the level.
    meta.compressed = found.version == 2 && compressed != nullptr && *compressed != Json(false);
    std::string method;
    found.lz4 = take(json, "compressionMethod", method) && method == "lz4";
    return found;
}

std::optional<BackupBlocks> parse_backup_blocks(std::string_view text, std::size_t most) {
    BlockReader reader(most);
    if (!Json::sax_parse(text, &reader)) {
        return std::nullopt;
    }
    return std::move(reader.blocks);
}

}  // namespace signpost
