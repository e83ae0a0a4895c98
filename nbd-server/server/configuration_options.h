// SPDX-License-Identifier: BSD-3-Clause
//
// Every option of signpostd, once: its key in the file, its flag, its type, and what it does to a
// ConfigurationDraft. The file reader, the command line, the environment and --help are made from
// this table, so that none of them can know an option that another does not.
//
// Values; the table is constant. Threads: any.

#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/server/configuration.h"

namespace signpost {

// As found somewhere: the value of an option, in words, and where.
struct Setting {
    std::string key;                  // of the table
    std::vector<std::string> values;  // one, unless the option may be repeated
    std::string place;                // "signpost.toml:12:1", "--tls", "SIGNPOST_TLS"
    std::string base;                 // directory for relative paths
};

class ConfigurationDraft {
   public:
    // Overrides what an earlier source has set. What is wrong becomes a mistake.
    void apply(const Setting& setting);
    void add_rules(std::vector<AccessRule> rules);
    void add_mistake(std::string_view place, std::string_view message);

    // Looks at how the options go together, and fills in what follows from others. PASSED: sockets
    // from systemd.
    void finish(int passed);

    // Looks for the files and directories, as a start would.
    void check_files();

    // "PLACE: MESSAGE", in the order in which they were found.
    const std::vector<std::string>& mistakes() const { return mistakes_; }

    // The setters' side.
    ServerConfiguration configuration;
    std::string base;
    std::vector<std::string> points;
    std::optional<DoorTls> tls_mode;
    std::optional<wire::TlsMode> peer_tls_mode;

   private:
    std::string place_of(std::string_view key) const;
    void finish_doors(int passed);
    void finish_http();
    void finish_tls();
    void finish_peer_tls();
    void finish_access();

    std::map<std::string, std::string, std::less<>> places_;  // of each key that was set
    std::vector<std::string> mistakes_;
};

enum class OptionType {
    text,
    texts,   // may be repeated; in the file a list, or one text
    number,  // whole
    size,    // bytes: a number, or one with K, M, G or T
    truth,   // a flag may stand alone
};

struct OptionInfo {
    std::string_view key;   // in the file; a dot ends the section
    std::string_view flag;  // without dashes
    OptionType type;
    std::string_view value;  // what --help calls the value; empty for truth
    std::string_view group;  // heading in --help
    std::string_view help;
    Result<void> (*set)(ConfigurationDraft& draft, std::string_view text);
    bool in_file = true;
};

std::span<const OptionInfo> all_options();
const OptionInfo* find_option(std::string_view key);

}  // namespace signpost
