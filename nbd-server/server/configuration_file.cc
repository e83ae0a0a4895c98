// SPDX-License-Identifier: BSD-3-Clause
//
// Before anything else: see there.
#include "nbd-server/disk/toml.h"

#include "nbd-server/server/configuration_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "catalog/disk_name.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/disk/wished_copies.h"
#include "nbd-server/server/configuration_values.h"

namespace signpost {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 8> kRuleKeys{"dn",   "san",  "psk",  "uid",
                                                    "user", "cidr", "disk", "right"};

// What a value of TOML is, for people.
std::string_view type_name(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return "a list";
        case toml::node_type::string:
            return "a text";
        case toml::node_type::integer:
            return "a number";
        case toml::node_type::boolean:
            return "true or false";
        default:
            return "a value of another kind";
    }
}

std::string_view wanted_name(OptionType type) {
    switch (type) {
        case OptionType::text:
            return "a text in quotes";
        case OptionType::texts:
            return "a list of texts in quotes, or one";
        case OptionType::number:
            return "a whole number";
        case OptionType::size:
            return "a number of bytes, or a text as \"512M\"";
        case OptionType::truth:
            return "true or false";
    }
    return "another value";
}

class Reader {
   public:
    Reader(const std::string& file, ConfigurationDraft& draft)
        : file_(file), base_(fs::path(file).parent_path()), draft_(draft) {}

    void read(const toml::table& root);
    void mistake(const toml::source_region& at, std::string_view message) {
        draft_.add_mistake(place(at), message);
    }

   private:
    std::string place(const toml::source_region& at) const {
        return fmt::format("{}:{}:{}", file_, at.begin.line, at.begin.column);
    }

    void read_entry(std::string_view section, const toml::key& key, const toml::node& node);
    void read_option(const OptionInfo& option, const toml::key& key, const toml::node& node);
    void unknown(std::string_view section, const toml::key& key);
    bool read_texts(std::string_view name, const toml::node& node, std::vector<std::string>& to);
    void read_rules(const toml::node& node);
    void read_rule(const toml::table& table, std::vector<AccessRule>& rules);
    bool read_condition(std::string_view name, const toml::node& node, AccessRule& rule);
    bool read_networks(const toml::node& node, AccessRule& rule);
    bool read_right(const toml::node& node, AccessRule& rule);

    const std::string& file_;
    const std::string base_;
    ConfigurationDraft& draft_;
};

bool is_section(std::string_view name) {
    return std::ranges::any_of(all_options(), [&](const OptionInfo& option) {
        return option.key.size() > name.size() && option.key.starts_with(name) &&
               option.key[name.size()] == '.';
    });
}

struct Entry {
    const toml::key& key;
    const toml::node& node;
};

// As they stand in the file, so that mistakes are told from the top down.
std::vector<Entry> in_order(const toml::table& table) {
    std::vector<Entry> entries;
    std::vector<std::pair<toml::source_position, const toml::key*>> order;
    for (const auto& [key, node] : table) {
        order.emplace_back(key.source().begin, &key);
    }
    std::ranges::sort(order, [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [position, key] : order) {
        entries.push_back({*key, *table.get(key->str())});
    }
    return entries;
}

void Reader::read(const toml::table& root) {
    for (const auto& [key, node] : in_order(root)) {
        const std::string_view name = key.str();
        const toml::table* table = node.as_table();
        if (name == "access") {
            read_rules(node);
        } else if (name == "copies") {
            continue;  // for the command's `repair`
        } else if (!is_section(name)) {
            read_entry("", key, node);
        } else if (table == nullptr) {
            mistake(key.source(), fmt::format("{0}: write [{0}] on a line of its own, and its "
                                              "keys below",
                                              name));
        } else {
            for (const auto& [inner_key, inner] : in_order(*table)) {
                read_entry(name, inner_key, inner);
            }
        }
    }
}

// A key with a dot in quotes is not one of ours, whatever it is spelt like.
void Reader::read_entry(std::string_view section, const toml::key& key, const toml::node& node) {
    const std::string_view name = key.str();
    const std::string full =
        section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
    const OptionInfo* option = name.find('.') == name.npos ? find_option(full) : nullptr;
    if (option != nullptr && option->in_file) {
        read_option(*option, key, node);
    } else {
        unknown(section, key);
    }
}

// Suggests a key of the same section, then the same key elsewhere, then a flag's name.
void Reader::unknown(std::string_view section, const toml::key& key) {
    std::vector<std::string_view> near;
    std::string elsewhere;
    for (const OptionInfo& option : all_options()) {
        const std::size_t dot = option.key.find('.');
        const std::string_view of = dot == option.key.npos ? "" : option.key.substr(0, dot);
        const std::string_view name =
            dot == option.key.npos ? option.key : option.key.substr(dot + 1);
        if (!option.in_file) {
            continue;
        }
        if (of == section) {
            near.push_back(name);
        } else if (name == key.str() || option.flag == key.str()) {
            elsewhere = of.empty()
                            ? fmt::format("; it goes before the first [section], as {}", name)
                            : fmt::format("; did you mean {} in [{}]?", name, of);
        }
    }
    const auto likely = likely_word(key.str().substr(0, 64), near);
    const std::string advice = !elsewhere.empty() ? elsewhere
                               : likely           ? fmt::format("; did you mean {}?", *likely)
                                                  : "; signpost.toml(5) has them all";
    const std::string where = section.empty() ? "" : fmt::format(" in [{}]", section);
    mistake(key.source(), fmt::format("unknown key {}{}{}", escaped(key.str(), 64), where, advice));
}

void Reader::read_option(const OptionInfo& option, const toml::key& key, const toml::node& node) {
    Setting setting{std::string(option.key), {}, place(key.source()), base_};
    bool fits = true;
    switch (option.type) {
        case OptionType::texts:
            if (!read_texts(option.key, node, setting.values)) {
                return;
            }
            break;
        case OptionType::text:
            fits = node.is_string();
            break;
        case OptionType::number:
            fits = node.is_integer();
            break;
        case OptionType::size:
            fits = node.is_integer() || node.is_string();
            break;
        case OptionType::truth:
            fits = node.is_boolean();
            break;
    }
    if (!fits) {
        mistake(node.source(), fmt::format("{}: give {}, not {}", option.key,
                                           wanted_name(option.type), type_name(node)));
        return;
    }
    if (const auto* text = node.as_string()) {
        setting.values = {text->get()};
    } else if (const auto* number = node.as_integer()) {
        setting.values = {fmt::format("{}", number->get())};
    } else if (const auto* truth = node.as_boolean()) {
        setting.values = {truth->get() ? "true" : "false"};
    }
    draft_.apply(setting);
}

// One text, or a list of them.
bool Reader::read_texts(std::string_view name, const toml::node& node,
                        std::vector<std::string>& to) {
    if (const auto* text = node.as_string()) {
        to.push_back(text->get());
        return true;
    }
    const toml::array* list = node.as_array();
    if (list == nullptr) {
        mistake(node.source(), fmt::format("{}: give {}, not {}", name,
                                           wanted_name(OptionType::texts), type_name(node)));
        return false;
    }
    bool sound = true;
    for (const toml::node& each : *list) {
        if (const auto* text = each.as_string()) {
            to.push_back(text->get());
        } else {
            mistake(each.source(),
                    fmt::format("{}: give texts in quotes, not {}", name, type_name(each)));
            sound = false;
        }
    }
    return sound;
}

void Reader::read_rules(const toml::node& node) {
    const toml::array* list = node.as_array();
    if (list == nullptr || !list->is_homogeneous(toml::node_type::table)) {
        mistake(node.source(), "access: begin each rule with [[access]], in two brackets");
        return;
    }
    std::vector<AccessRule> rules;
    for (const toml::node& each : *list) {
        read_rule(*each.as_table(), rules);
    }
    draft_.add_rules(std::move(rules));
}

void Reader::read_rule(const toml::table& table, std::vector<AccessRule>& rules) {
    AccessRule rule;
    rule.origin =
        fmt::format("{}:{}", fs::path(file_).filename().string(), table.source().begin.line);
    bool sound = true;
    for (const auto& [key, node] : in_order(table)) {
        const std::string_view name = key.str();
        if (name == "right") {
            sound = read_right(node, rule) && sound;
        } else if (std::ranges::count(kRuleKeys, name) > 0) {
            sound = read_condition(name, node, rule) && sound;
        } else {
            const auto likely = likely_word(name.substr(0, 64), kRuleKeys);
            mistake(key.source(),
                    fmt::format("unknown key {} in [[access]]{}", escaped(name, 64),
                                likely ? fmt::format("; did you mean {}?", *likely)
                                       : "; it has dn, san, psk, uid, user, cidr, disk "
                                         "and right"));
            sound = false;
        }
    }
    if (!table.contains("right")) {
        mistake(table.source(),
                "access: right is missing: deny, read-only, read-write or "
                "trusted-relay");
        sound = false;
    }
    auto checked = checked_rule(std::move(rule));
    if (!checked) {
        mistake(table.source(), fmt::format("access: {}", checked.error().message));
    } else if (sound) {
        rules.push_back(std::move(*checked));
    }
}

bool Reader::read_condition(std::string_view name, const toml::node& node, AccessRule& rule) {
    if (name == "cidr") {
        return read_networks(node, rule);
    }
    auto& patterns = name == "dn"     ? rule.dn
                     : name == "san"  ? rule.san
                     : name == "psk"  ? rule.psk
                     : name == "uid"  ? rule.uid
                     : name == "user" ? rule.user
                                      : rule.disk;
    if (const auto* number = name == "uid" ? node.as_integer() : nullptr) {
        patterns.push_back(fmt::format("{}", number->get()));
        return true;
    }
    if (!read_texts(fmt::format("access: {}", name), node, patterns)) {
        return false;
    }
    // A rule whose condition is empty by mistake must not fit everybody.
    if (patterns.empty()) {
        mistake(node.source(), fmt::format("access: {} is an empty list; leave it out for no "
                                           "condition",
                                           name));
    }
    return !patterns.empty();
}

bool Reader::read_networks(const toml::node& node, AccessRule& rule) {
    std::vector<std::string> texts;
    if (!read_texts("access: cidr", node, texts)) {
        return false;
    }
    if (texts.empty()) {
        mistake(node.source(), "access: cidr is an empty list; leave it out for no condition");
        return false;
    }
    for (const std::string& text : texts) {
        const auto network = IpNetwork::parse(text);
        if (!network) {
            mistake(node.source(), fmt::format("access: cidr {}", network.error().message));
            return false;
        }
        rule.network.push_back(*network);
    }
    return true;
}

bool Reader::read_right(const toml::node& node, AccessRule& rule) {
    const std::string word = node.value_or(std::string());
    for (const Right right : {Right::deny, Right::read_only, Right::read_write}) {
        if (word == to_string(right)) {
            rule.right = right;
            return true;
        }
    }
    if (word == kTrustedRelay) {
        rule.right = Right::read_only;
        rule.trusted_relay = true;
        return true;
    }
    mistake(node.source(), fmt::format("access: right \"{}\" is none of deny, read-only, "
                                       "read-write, trusted-relay",
                                       escaped(word)));
    return false;
}

Result<std::string> read_text(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return fail(Errc::not_found, std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(Errc::invalid, "not a regular file");
    }
    std::string text(kMaxConfigurationFile + 1, '\0');
    std::size_t have = 0;
    while (have < text.size()) {
        const ssize_t n = ::read(fd.get(), text.data() + have, text.size() - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(Errc::io, std::strerror(errno));
        }
        if (n == 0) {
            break;
        }
        have += static_cast<std::size_t>(n);
    }
    text.resize(have);
    return text;
}

void read_one(const std::string& path, ConfigurationDraft& draft) {
    const auto text = read_text(path);
    if (!text) {
        draft.add_mistake(path, text.error().message);
        return;
    }
    parse_configuration(*text, path, draft);
    draft.configuration.files.push_back(path);
}

}  // namespace

void parse_configuration(std::string_view text, const std::string& file,
                         ConfigurationDraft& draft) {
    if (text.size() > kMaxConfigurationFile) {
        draft.add_mistake(file, "larger than 1 MiB: not a configuration");
        return;
    }
    const toml::parse_result result = toml::parse(text);
    Reader reader(file, draft);
    if (result) {
        reader.read(result.table());
        if (const auto wishes = parse_wished_copies(text, file); !wishes) {
            const std::string& line = wishes.error().message;
            const std::size_t place = line.find(": ", file.size());
            draft.add_mistake(line.substr(0, place), line.substr(place + 2));
        }
    } else {
        reader.mistake(result.error().source(), escaped(result.error().description(), 400));
    }
}

void read_configuration(const std::string& path, ConfigurationDraft& draft) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
        read_one(path, draft);
        return;
    }
    std::vector<std::string> files;
    for (fs::directory_iterator entries(path, error), end; !error && entries != end;
         entries.increment(error)) {
        const std::string name = entries->path().filename().string();
        if (name.ends_with(".toml") && !name.starts_with('.')) {
            files.push_back(entries->path().string());
        }
    }
    if (error) {
        draft.add_mistake(path, error.message());
    }
    std::ranges::sort(files);
    for (const std::string& file : files) {
        read_one(file, draft);
    }
}

}  // namespace signpost
