// SPDX-License-Identifier: BSD-3-Clause
#include "cli/catalog_file.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "catalog/row_check.h"
#include "catalog/small_tables.h"

namespace signpost {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kVersion = 1;
constexpr std::string_view kHeaderKey = "signpost_catalog";

// What a field of a line is not: thrown by the readers below, caught in CatalogFileReader::line.
struct Fault {
    std::string what;
};

std::unexpected<Error> bad(std::string what) {
    return fail(Errc::invalid, std::move(what));
}

const Json& field(const Json& json, const char* key) {
    const auto found = json.find(key);
    if (found == json.end())
        throw Fault{fmt::format("\"{}\" is missing", key)};
    return *found;
}

std::string text(const Json& json, const char* key) {
    const Json& value = field(json, key);
    if (!value.is_string())
        throw Fault{fmt::format("\"{}\" is no text", key)};
    return value.get<std::string>();
}

bool flag(const Json& json, const char* key) {
    const Json& value = field(json, key);
    if (!value.is_boolean())
        throw Fault{fmt::format("\"{}\" is neither true nor false", key)};
    return value.get<bool>();
}

template <class Number>
Number number(const Json& json, const char* key) {
    const Json& value = field(json, key);
    const bool fits =
        value.is_number_unsigned()
            ? std::in_range<Number>(value.get<std::uint64_t>())
            : value.is_number_integer() && std::in_range<Number>(value.get<std::int64_t>());
    if (!fits)
        throw Fault{fmt::format("\"{}\" is no number that fits", key)};
    return value.get<Number>();
}

template <class Enum>
Enum word(const Json& json, const char* key, std::optional<Enum> (*parse)(std::string_view)) {
    const auto value = parse(text(json, key));
    if (!value)
        throw Fault{fmt::format("\"{}\" is no word that this release knows", key)};
    return *value;
}

const Json& array(const Json& json, const char* key) {
    const Json& value = field(json, key);
    if (!value.is_array())
        throw Fault{fmt::format("\"{}\" is no list", key)};
    return value;
}

// So that nothing of a file is silently left out.
void expect_keys(const Json& json, std::size_t keys) {
    if (!json.is_object() || json.size() != keys)
        throw Fault{"it has keys that this release does not know, or not all"};
}

template <class T>
T good(Result<T> checked) {
    if (!checked)
        throw Fault{std::move(checked.error().message)};
    if constexpr (!std::is_void_v<T>)
        return std::move(*checked);
}

Server server_in(const Json& json) {
    expect_keys(json, 10);
    Server server;
    server.name = text(json, "server");
    for (const Json& uri : array(json, "uris")) {
        if (!uri.is_string())
            throw Fault{"a URI is no text"};
        server.uris.push_back(good(check_server_uri(uri.get<std::string>())));
    }
    server.site = text(json, "site");
    server.kind = word(json, "kind", parse_server_kind);
    server.priority = number<int>(json, "priority");
    server.priority_class = word(json, "class", parse_priority_class);
    server.draining = flag(json, "draining");
    server.last_heartbeat = number<std::int64_t>(json, "last_heartbeat");
    server.heartbeat_sequence = number<std::uint64_t>(json, "heartbeat_sequence");
    server.instance = text(json, "instance");
    good(check_server(server));
    return server;
}

Location location_in(const Json& json, const DiskName& disk) {
    expect_keys(json, 13);
    Location location;
    location.server = text(json, "server");
    location.export_name = text(json, "export");
    location.size = number<std::uint64_t>(json, "size");
    location.format = word(json, "format", parse_image_format);
    location.read_only = flag(json, "read_only");
    location.generation = number<std::uint64_t>(json, "generation");
    location.digest = text(json, "digest");
    location.state = word(json, "state", parse_location_state);
    location.priority = number<int>(json, "priority");
    location.last_seen = number<std::int64_t>(json, "last_seen");
    location.fingerprint = text(json, "fingerprint");
    location.minimum_block = number<std::uint32_t>(json, "minimum_block");
    location.verified = number<std::int64_t>(json, "verified");
    good(check_location(location, disk));
    return location;
}

constexpr const char* kWriterKey = "last_writer";

LastWriter writer_in(const Json& json, const DiskName& disk) {
    if (!json.contains(kWriterKey))
        return std::nullopt;
    const Json& writer = field(json, kWriterKey);
    expect_keys(writer, 3);
    const WriterLease lease{.disk = disk,
                            .server = text(writer, "server"),
                            .writer = text(writer, "writer"),
                            .fence = number<std::uint64_t>(writer, "fence")};
    good(check_lease(lease));
    return lease;
}

DiskRecord disk_in(const Json& json) {
    expect_keys(json, json.contains(kWriterKey) ? 3 : 2);
    DiskRecord disk{good(DiskName::parse(text(json, "disk"))), {}};
    for (const Json& location : array(json, "locations")) {
        disk.locations.push_back(location_in(location, disk.name));
        const std::size_t count = disk.locations.size();
        if (count > 1 && disk.locations[count - 1].server <= disk.locations[count - 2].server)
            throw Fault{fmt::format("server {} is there twice, or out of order",
                                    disk.locations.back().server)};
    }
    if (disk.locations.empty())
        throw Fault{"the disk has no location"};
    return disk;
}

SiteCost site_cost_in(const Json& json) {
    expect_keys(json, 2);
    const Json& sites = array(json, "sites");
    if (sites.size() != 2 || !sites[0].is_string() || !sites[1].is_string())
        throw Fault{"\"sites\" are not two"};
    const SiteCost cost{sites[0].get<std::string>(), sites[1].get<std::string>(),
                        number<int>(json, "cost")};
    if (cost.cost < 0 || good(checked_site_cost(cost)) != cost)
        throw Fault{"the cost is out of range, or its sites are out of order"};
    return cost;
}

void check_header(const Json& json) {
    const auto found = json.find(kHeaderKey);
    if (found == json.end() || !found->is_number_unsigned())
        throw Fault{"this is no file of signpost catalog export"};
    const auto version = found->get<std::uint64_t>();
    if (version > kVersion)
        throw Fault{
            fmt::format("the file is of a newer release (format {}, this one knows up to "
                        "{}); upgrade this one",
                        version, kVersion)};
}

std::string line_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::strict) + "\n";
}

Json json_of(const Location& location) {
    return {{"server", location.server},
            {"export", location.export_name},
            {"size", location.size},
            {"format", to_string(location.format)},
            {"read_only", location.read_only},
            {"generation", location.generation},
            {"digest", location.digest},
            {"state", to_string(location.state)},
            {"priority", location.priority},
            {"last_seen", location.last_seen},
            {"fingerprint", location.fingerprint},
            {"minimum_block", location.minimum_block},
            {"verified", location.verified}};
}

}  // namespace

void LineSum::Free::operator()(void* hash) const {
    gnutls_hash_deinit(static_cast<gnutls_hash_hd_t>(hash), nullptr);
}

LineSum::LineSum() {
    gnutls_hash_hd_t hash = nullptr;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) == 0)
        hash_.reset(hash);
}

void LineSum::add(std::string_view line) {
    if (hash_)
        gnutls_hash(static_cast<gnutls_hash_hd_t>(hash_.get()), line.data(), line.size());
}

std::string LineSum::hex() const {
    std::array<unsigned char, 32> sum{};
    const auto hash = static_cast<gnutls_hash_hd_t>(hash_.get());
    const auto copy = hash == nullptr ? nullptr : gnutls_hash_copy(hash);
    if (copy != nullptr)
        gnutls_hash_deinit(copy, sum.data());
    std::string digits;
    for (const unsigned char byte : sum)
        digits += fmt::format("{:02x}", byte);
    return digits;
}

Result<void> CatalogFileWriter::line(std::string text) {
    sum_.add(text);
    return write_(text);
}

Result<void> CatalogFileWriter::begin() {
    if (std::exchange(begun_, true))
        return {};
    return line(line_of({{std::string(kHeaderKey), kVersion}}));
}

Result<void> CatalogFileWriter::add(const Server& server) {
    if (auto begun = begin(); !begun)
        return begun;
    Json uris = Json::array();
    for (const NbdUri& uri : server.uris)
        uris.push_back(uri.str());
    ++servers_;
    return line(line_of({{"server", server.name},
                         {"uris", uris},
                         {"site", server.site},
                         {"kind", to_string(server.kind)},
                         {"priority", server.priority},
                         {"class", to_string(server.priority_class)},
                         {"draining", server.draining},
                         {"last_heartbeat", server.last_heartbeat},
                         {"heartbeat_sequence", server.heartbeat_sequence},
                         {"instance", server.instance}}));
}

Result<void> CatalogFileWriter::add(const SiteCost& cost) {
    if (auto begun = begin(); !begun)
        return begun;
    ++site_costs_;
    return line(line_of({{"sites", Json::array({cost.from, cost.to})}, {"cost", cost.cost}}));
}

Result<void> CatalogFileWriter::add(const DiskRecord& disk, const LastWriter& writer) {
    if (auto begun = begin(); !begun)
        return begun;
    Json locations = Json::array();
    for (const Location& location : disk.locations)
        locations.push_back(json_of(location));
    ++disks_;
    Json json{{"disk", disk.name.str()}, {"locations", std::move(locations)}};
    if (writer)
        json[kWriterKey] = {
            {"server", writer->server}, {"writer", writer->writer}, {"fence", writer->fence}};
    return line(line_of(json));
}

Result<void> CatalogFileWriter::end(std::uint64_t newest_generation) {
    if (auto begun = begin(); !begun)
        return begun;
    return write_(line_of({{"end", true},
                           {"servers", servers_},
                           {"site_costs", site_costs_},
                           {"disks", disks_},
                           {"generation", newest_generation},
                           {"sha256", sum_.hex()}}));
}

Result<void> CatalogFileReader::come_to(Part part) {
    if (part_ == Part::ended)
        return bad("there is more after the end");
    if (part_ == Part::header)
        return bad("this is no file of signpost catalog export: it has no header");
    if (part < part_)
        return bad("it is out of order: servers come first, then site costs, then disks");
    if (part != part_)
        last_.clear();
    part_ = part;
    return {};
}

Result<void> CatalogFileReader::follow(std::string_view name) {
    if (name <= last_ && !last_.empty())
        return bad(fmt::format("{} is there twice, or out of order", escaped(name)));
    last_ = name;
    return {};
}

// Throws Fault.
Result<void> CatalogFileReader::take(std::string_view text_of_line) {
    const Json json = Json::parse(text_of_line, nullptr, false);
    if (!json.is_object())
        throw Fault{"it is no JSON object, or cut off"};
    if (part_ == Part::header) {
        check_header(json);
        expect_keys(json, 1);
        part_ = Part::servers;
        return {};
    }
    const auto put = [&](Part part, const std::string& name, auto& count, const auto&... record) {
        auto taken = come_to(part);
        if (taken)
            taken = follow(name);
        ++count;
        return taken ? sink_.add(record...) : taken;
    };
    // A location has a "server", too; but no line is one.
    if (json.contains("server")) {
        const Server server = server_in(json);
        return put(Part::servers, server.name, servers_, server);
    }
    if (json.contains("sites")) {
        const SiteCost cost = site_cost_in(json);
        return put(Part::site_costs, cost.from + '\n' + cost.to, site_costs_, cost);
    }
    if (json.contains("disk")) {
        const DiskRecord disk = disk_in(json);
        return put(Part::disks, disk.name.str(), disks_, disk, writer_in(json, disk.name));
    }
    if (!json.contains("end"))
        throw Fault{"it is nothing that this release knows"};
    expect_keys(json, 6);
    if (auto come = come_to(Part::ended); !come)
        return come;
    if (number<std::uint64_t>(json, "servers") != servers_ ||
        number<std::uint64_t>(json, "site_costs") != site_costs_ ||
        number<std::uint64_t>(json, "disks") != disks_ || text(json, "sha256") != sum_.hex())
        throw Fault{
            "the lines before are not those that were written: the file was edited or is "
            "damaged; export it again"};
    return sink_.end(number<std::uint64_t>(json, "generation"));
}

Result<void> CatalogFileReader::line(std::string_view text_of_line) {
    ++line_;
    Result<void> taken;
    try {
        taken = text_of_line.size() > kMaxLine ? bad("it is too long") : take(text_of_line);
    } catch (const Fault& fault) {
        taken = bad(fault.what);
    } catch (const std::exception& error) {
        taken = bad(error.what());
    }
    if (!taken && taken.error().code == Errc::invalid)
        return bad(fmt::format("line {}: {}", line_, taken.error().message));
    sum_.add(text_of_line);
    sum_.add("\n");
    return taken;
}

Result<void> CatalogFileReader::finish() const {
    if (part_ == Part::ended)
        return {};
    return bad(fmt::format("line {}: the file is cut off: it has no end; export it again", line_));
}

}  // namespace signpost
