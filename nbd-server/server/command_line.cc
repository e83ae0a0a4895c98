// SPDX-License-Identifier: BSD-3-Clause
//
// The only file of the server that knows CLI11. --help is made from the table of options, so it
// cannot forget one.

#include "nbd-server/server/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

constexpr std::string_view kAbout =
    "Serves virtual-machine disks over NBD: the images in its repositories, and any other disk of\n"
    "the federation, relayed from the server that holds it. Clients need nothing but an NBD URI.\n";

constexpr std::string_view kExamples =
    "  signpostd --repository /srv/images\n"
    "  signpostd --repository /srv/images --server alpha --uri nbd://alpha.example:10809\n"
    "  signpostd --repository /srv/images --listen unix:/run/signpost/nbd.sock --writable\n"
    "  signpostd --repository /srv/images --tls-certificates /etc/pki/signpost\n"
    "  signpostd --config /etc/signpost/signpost.toml --check-config\n";

constexpr std::string_view kMore =
    "The same words are keys of the file (signpost.toml(5) has their sections, and the access\n"
    "rules) and variables SIGNPOST_NAME; a flag wins over a variable, a variable over the file.\n"
    "SIGHUP reads access rules, certificates and keys again; SIGTERM drains, twice stops.\n"
    "Exit status: 0 ended as asked, 1 failed, 2 mistakes in the configuration.\n";

constexpr std::string_view kConfigGroup = "configuration";

struct HelpRow {
    std::string_view group;
    std::string left;
    std::string_view right;
};

std::vector<HelpRow> help_rows() {
    std::vector<HelpRow> rows{
        {kConfigGroup, "--config FILE",
         "read FILE, or each *.toml of a directory; may be repeated (or SIGNPOST_CONFIG)"},
        {kConfigGroup, "--check-config",
         "say what is wrong with the configuration, as file:line:column: message, and end"},
        {kConfigGroup, "-h, --help", "show this"},
        {kConfigGroup, "--version", "show the version"},
    };
    for (const OptionInfo& option : all_options()) {
        rows.push_back(
            {option.group,
             fmt::format("--{}{}{}", option.flag, option.value.empty() ? "" : " ", option.value),
             option.help});
    }
    return rows;
}

std::string help_text() {
    constexpr std::size_t kColumn = 30;
    std::string text = fmt::format("usage: signpostd [OPTION]...\n\n{}", kAbout);
    std::string_view group;
    for (const HelpRow& row : help_rows()) {
        if (row.group != group) {
            group = row.group;
            text += fmt::format("\n{}:\n", group);
        }
        text += fmt::format("  {:<{}}  {}\n", row.left, kColumn, row.right);
    }
    return text + fmt::format("\nexamples:\n{}\n{}", kExamples, kMore);
}

struct Parser {
    Parser();

    CLI::App app{std::string(kAbout), "signpostd"};
    std::vector<std::string> config;
    bool check_config = false;
    std::map<std::string_view, std::vector<std::string>> values;  // by flag
    std::map<std::string_view, std::string> truths;
};

Parser::Parser() {
    app.set_help_flag("-h,--help", "");
    app.set_version_flag("--version", "signpostd " SIGNPOST_VERSION, "");
    app.add_option("--config", config)->allow_extra_args(false);
    app.add_flag("--check-config", check_config);
    for (const OptionInfo& option : all_options()) {
        const std::string name = fmt::format("--{}", option.flag);
        if (option.type == OptionType::truth) {
            app.add_flag(name + "{true}", truths[option.flag]);
        } else {
            auto* const added = app.add_option(name, values[option.flag]);
            added->allow_extra_args(false);
            if (option.flag == "http") {
                added->expected(0, 1);  // alone it means `on`
            }
        }
    }
}

// CLI11's own words, made one line of ours.
ServerAnswer refusal(const CLI::ParseError& error) {
    std::string text = error.what();
    if (text.starts_with("The ")) {
        text.front() = 't';
    }
    return {2, "", fmt::format("signpostd: {}; see signpostd --help\n", escaped(text, 400))};
}

}  // namespace

std::variant<ServerCommandLine, ServerAnswer> parse_server_words(
    const std::vector<std::string>& words, const std::string& directory) {
    Parser parser;
    try {
        parser.app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    } catch (const CLI::CallForHelp&) {
        return ServerAnswer{0, help_text(), ""};
    } catch (const CLI::CallForVersion& version) {
        return ServerAnswer{0, fmt::format("{}\n", version.what()), ""};
    } catch (const CLI::ParseError& error) {
        return refusal(error);
    }
    ServerCommandLine line{parser.config, parser.check_config, {}};
    for (const OptionInfo& option : all_options()) {
        const std::string flag = fmt::format("--{}", option.flag);
        if (parser.app.count(flag) == 0) {
            continue;
        }
        Setting setting{std::string(option.key), {}, flag, directory};
        if (option.type == OptionType::truth) {
            setting.values = {parser.truths[option.flag]};
        } else {
            setting.values = parser.values[option.flag];
        }
        if (setting.key == "http") {
            std::ranges::replace(setting.values, std::string(), std::string("on"));
        }
        if (setting.values.size() > 1 && option.type != OptionType::texts) {
            return ServerAnswer{2, "", fmt::format("signpostd: {} is given twice\n", flag)};
        }
        line.settings.push_back(std::move(setting));
    }
    return line;
}

}  // namespace signpost
