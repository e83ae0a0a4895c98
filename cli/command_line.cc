// SPDX-License-Identifier: BSD-3-Clause
//
// The only file that knows CLI11. Shared options belong to the program, so that they may stand
// before and after the verb; verb_table.h says which of them mean something to which verb. --help
// is made from the same definitions, so it cannot forget an option.

#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "catalog/disk_name.h"
#include "cli/verb_table.h"

namespace signpost {

namespace {

constexpr std::string_view kAbout =
    "Asks the catalog of a Signpost federation which server holds which disk, and keeps it true.\n";

constexpr std::string_view kExitStatus =
    "Exit status: 0 ok, 1 failed, 2 usage, 3 no such disk, 4 server unreachable, 5 catalog\n"
    "unreachable, 6 problems found, 7 denied, 8 conflict, 130 interrupted.\n";

// The definitions, and where the words go.
struct Parser {
    Parser();

    CLI::App* verb(CLI::App& parent, std::string_view canonical);
    void add_shared_options();
    void add_tls_options();
    void add_disk_verbs();
    void add_server_verbs();
    void add_repository_verbs();
    void add_job_verbs();
    void add_file_verbs();
    void add_machine_verbs();
    void add_other_verbs();

    RawArguments raw;
    CLI::App app{std::string(kAbout), "signpost"};
};

Parser::Parser() {
    app.set_help_flag("-h,--help", "show this, or `signpost VERB --help`: a verb and its examples");
    app.set_version_flag("--version", "signpost " SIGNPOST_VERSION, "show the version");
    app.require_subcommand(1);
    add_shared_options();
    add_tls_options();
    add_disk_verbs();
    add_server_verbs();
    add_repository_verbs();
    add_job_verbs();
    add_file_verbs();
    add_other_verbs();
}

CLI::App* Parser::verb(CLI::App& parent, std::string_view canonical) {
    const VerbInfo* info = find_verb(canonical);
    const std::string name(canonical.substr(canonical.rfind(' ') + 1));
    CLI::App* sub = parent.add_subcommand(name, std::string(info->summary));
    sub->fallthrough();
    if (!info->alias.empty()) {
        sub->alias(std::string(info->alias));
    }
    return sub;
}

void Parser::add_shared_options() {
    app.add_option("--catalog", raw.catalog,
                   "the catalog: sqlite:PATH or postgresql://HOST/DATABASE (or SIGNPOST_CATALOG;\n"
                   "signpost(1) has the default)")
        ->type_name("URL");
    app.add_flag("--json{whole}", raw.json,
                 "machine-readable; --json=lines: one object a line for lists");
    app.add_option("--server", raw.server,
                   "this server's name (or SIGNPOST_SERVER; default: the host name); for rm, uri, "
                   "verify and explain: that server")
        ->type_name("NAME");
    app.add_option("--uri", raw.uri, "how clients reach the server that add and scan publish for")
        ->type_name("NBD-URI");
    app.add_flag("--yes", raw.yes, "do not ask");
    app.add_flag("--dry-run", raw.dry_run, "say what would be done, and change nothing");
    app.add_flag("--bytes", raw.bytes, "exact sizes");
    app.add_option("--color", raw.color, "auto (default), always or never; NO_COLOR is honoured")
        ->type_name("WHEN");
    app.add_flag("-H,--no-header", raw.no_header, "no header, one tab between columns");
    app.add_option("-o,--columns", raw.columns, "which columns, in this order")->type_name("COLS");
    app.add_option("--limit", raw.limit, "at most N disks")->type_name("N");
}

void Parser::add_tls_options() {
    app.add_option("--tls-certificates", raw.tls_certificates,
                   "for nbds servers: directory with ca-cert.pem (client-cert.pem, client-key.pem)")
        ->type_name("DIR");
    app.add_option("--tls-psk", raw.tls_psk, "for nbds servers: file of pre-shared keys")
        ->type_name("FILE");
    app.add_option("--tls-username", raw.tls_username, "whose key (default: the login name)")
        ->type_name("NAME");
}

void Parser::add_disk_verbs() {
    CLI::App* list = verb(app, "ls");
    list->add_option("PATTERN", raw.pattern);
    list->add_flag("--points", raw.list_points, "restore points, of all disks or the one named");
    verb(app, "find")->add_option("TEXT", raw.text)->required();
    CLI::App* where = verb(app, "where");
    where->add_option("DISK", raw.disk)->required();
    where->add_flag("--check", raw.check, "ask each server now; exit 6 if a copy is not reachable");
    verb(app, "info")->add_option("DISK", raw.disk)->required();
    verb(app, "uri")->add_option("DISK", raw.disk)->required();
}

void Parser::add_server_verbs() {
    CLI::App* servers = app.add_subcommand("servers", "list, add or forget servers");
    servers->fallthrough();
    servers->require_subcommand(0, 1);
    verb(*servers, "servers list");
    CLI::App* add = verb(*servers, "servers add");
    add->add_option("NAME", raw.name)->required();
    add->add_option("URI", raw.server_uri)->required();
    add->add_flag("--foreign", raw.foreign, "any other NBD server: import the exports it lists");
    add->add_option("--site", raw.site, "where it stands; the own site is asked first")
        ->type_name("SITE");
    add->add_option("--priority", raw.priority, "lower is asked first (default: 100)")
        ->type_name("N");
    add->add_option("--class", raw.priority_class,
                    "global-high, site-high, site-normal (default), site-low, global-low")
        ->type_name("CLASS");
    verb(*servers, "servers rm")->add_option("NAME", raw.name)->required();
    CLI::App* drain = verb(*servers, "servers drain");
    drain->add_option("NAME", raw.name)->required();
    drain->add_flag("--off", raw.off, "take clients again");
    drain->add_flag("--wait", raw.wait, "until nobody uses it any more");
    CLI::App* sites = app.add_subcommand("sites", "list or set what it costs to get to a site");
    sites->fallthrough();
    sites->require_subcommand(0, 1);
    verb(*sites, "sites list");
    CLI::App* cost = verb(*sites, "sites cost");
    cost->add_option("FROM", raw.site_a)->required();
    cost->add_option("TO", raw.site_b)->required();
    cost->add_option("COST", raw.cost)->required();
}

void Parser::add_repository_verbs() {
    CLI::App* add = verb(app, "add");
    add->add_option("PATH", raw.path)->required();
    add->add_option("--repository", raw.repository,
                    "the repository that the image is in (default: its directory)")
        ->type_name("DIR");
    verb(app, "rm")->add_option("DISK", raw.disk)->required();
    CLI::App* scan = verb(app, "scan");
    scan->add_option("DIR", raw.directories);
    scan->add_flag("--prune", raw.prune, "forget the server's images that are not under DIR");
    for (CLI::App* sub : {add, scan}) {
        sub->add_option("--points", raw.points,
                        "which files are restore points, as {disk}-{date}; chains; off; may be "
                        "repeated (default: as the servers)")
            ->type_name("PATTERN")
            ->allow_extra_args(false);
    }
}

void Parser::add_job_verbs() {
    for (const char* name : {"copy", "move"}) {
        CLI::App* copy = verb(app, name);
        copy->add_option("DISK", raw.disk)->required();
        copy->add_option("--to", raw.to, "the server that is to have it")
            ->type_name("SERVER")
            ->required();
        copy->add_option("--from", raw.source, "the server that is read from, or gives it up")
            ->type_name("SERVER");
    }
    CLI::App* repair = verb(app, "repair");
    repair->add_option("PATTERN", raw.pattern);
    repair->add_option("--copies", raw.copies, "how many good copies (default: as configured)")
        ->type_name("N");
    repair
        ->add_option("--config", raw.config,
                     "file with [[copies]] (default: /etc/signpost/signpost.toml)")
        ->type_name("FILE");
    for (CLI::App* sub : {app.get_subcommand("copy"), app.get_subcommand("move"), repair}) {
        sub->add_option("--rate", raw.rate, "at most so many bytes per second: 500K, 50M, 1G")
            ->type_name("RATE");
        sub->add_flag("--detach", raw.detach, "print the id, and do not wait for the end");
    }
    CLI::App* jobs = verb(app, "jobs");
    jobs->add_option("ID", raw.job);
    jobs->require_subcommand(0, 1);
    verb(*jobs, "jobs cancel")->add_option("ID", raw.job)->required();
}

void Parser::add_file_verbs() {
    CLI::App* files = app.add_subcommand("files", "list and fetch files of a disk");
    files->fallthrough();
    files->require_subcommand(1);
    CLI::App* list = verb(*files, "files ls");
    list->add_flag("-l,--long", raw.details, "permissions, owner, size and time, too");
    list->add_flag("-R,--recursive", raw.recursive, "and all that is beneath it");
    CLI::App* cat = verb(*files, "files cat");
    CLI::App* get = verb(*files, "files get");
    CLI::App* find = verb(*files, "files find");
    CLI::App* mount = verb(app, "mount");
    for (CLI::App* sub : {list, cat, get, find, mount}) {
        sub->add_option("PLACE", raw.place)->required();
        sub->add_option("--with", raw.with, "another disk of the same volume group")
            ->type_name("DISK")
            ->allow_extra_args(false);
        sub->add_option("--key", raw.key, "file with the passphrase of an encrypted partition")
            ->type_name("FILE");
        sub->add_flag("-v,--verbose", raw.verbose, "say how the file system is read");
    }
    for (CLI::App* sub : {list, cat, get, find}) {
        sub->add_flag("--deleted", raw.deleted, "names that were deleted, too");
    }
    mount->add_option("DIR", raw.directory)->required();
    mount->add_flag("--background", raw.background, "return when it is mounted");
    get->add_option("DEST", raw.destination);
    get->add_flag("-r,--recursive", raw.recursive, "a directory with all that is beneath it");
    get->add_flag("--tar", raw.tar, "a tar archive, into DEST or to standard output");
    get->add_flag("--force", raw.force, "replace files that are there");
    find->add_option("NAME", raw.text);
    find->add_flag("--all-points", raw.all_points, "on the disk and each restore point of it");
}

void Parser::add_machine_verbs() {
    CLI::App* boot = verb(app, "boot");
    boot->add_option("DISK", raw.disk)->required();
    boot->add_flag("--start", raw.start, "start it: from the pool, by libvirt, or by QEMU alone");
    boot->add_flag("--print-xml", raw.print_xml, "libvirt's XML of the machine");
    boot->add_flag("--print-command", raw.print_command, "the commands for QEMU alone (default)");
    boot->add_option("--vm", raw.vm, "the machine's name (default: of the disk)")
        ->type_name("NAME");
    boot->add_option("--cow", raw.directory, "where what it writes goes")->type_name("DIR");
    CLI::App* drill = verb(app, "drill");
    drill->add_option("DISK", raw.disks);
    drill->add_option("--at", raw.at, "its newest restore point of that time: 2026-11-20")
        ->type_name("TIME");
    drill->add_option("--oldest", raw.oldest, "the N disks whose last drill is longest ago")
        ->type_name("N");
    drill->add_option("--sign", raw.sign, "of life: auto, agent, serial or screen")
        ->type_name("KIND");
    drill->add_option("--expect", raw.expect, "what the serial console is to say (default: login:)")
        ->type_name("TEXT");
    drill->add_option("--timeout", raw.timeout, "give up after so many seconds (default: 300)")
        ->type_name("SECONDS");
    drill->add_flag("--history", raw.history, "show the drills that there were");
    for (CLI::App* sub : {boot, drill}) {
        sub->add_option("--memory", raw.memory, "of the machine (default: 1024)")->type_name("MIB");
        sub->add_option("--bus", raw.bus, "of the disk: virtio (default), sata or ide")
            ->type_name("BUS");
        sub->add_option("--accel", raw.accel, "auto (default), kvm or tcg")->type_name("ACCEL");
    }
}

void Parser::add_other_verbs() {
    CLI::App* verify = verb(app, "verify");
    verify->add_option("DISK", raw.disks);
    verify->add_option("--glob", raw.glob, "only disks whose names match, as 'web*/vda'")
        ->type_name("PATTERN");
    verify->add_flag("--trust-holes", raw.trust_holes,
                     "believe foreign servers, too, that a hole is zero, and do not read it");
    verb(app, "diff")->add_option("DISK", raw.disks)->required();
    CLI::App* explain = verb(app, "explain");
    explain->add_option("DISK", raw.disk)->required();
    explain->add_flag("--check", raw.check,
                      "ask each server now, too; exit 6 if one to be asked "
                      "does not answer");
    CLI::App* run = verb(app, "run");
    run->add_option("DISK", raw.disk)->required();
    run->add_option("COMMAND", raw.command);
    run->add_flag("--cow", raw.cow, "let it write; what it writes is thrown away");
    CLI::App* sessions = verb(app, "sessions");
    sessions->add_flag("--watch", raw.watch, "again and again, until it is interrupted");
    sessions->require_subcommand(0, 1);
    verb(*sessions, "sessions kill")->add_option("ID", raw.session)->required();
    add_machine_verbs();
    verb(app, "status");
    verb(app, "cache")->add_option("DIR", raw.directories)->required()->expected(1);
    verb(app, "doctor")
        ->add_option("--config", raw.config,
                     "the server's configuration (default: /etc/signpost/signpost.toml)")
        ->type_name("FILE");
    CLI::App* init = verb(app, "init");
    init->add_option("FILE", raw.file);
    init->add_option("--repository", raw.directories,
                     "a directory with disk images; may be repeated; none: a gateway")
        ->type_name("DIR")
        ->allow_extra_args(false);
    init->add_option("--listen", raw.listen, "where clients come in; may be repeated")
        ->type_name("ADDRESS")
        ->allow_extra_args(false);
    init->add_option("--http", raw.http,
                     "the console for browsers: on (this machine only), off, or ADDR:PORT")
        ->type_name("ADDRESS");
    init->add_option("--site", raw.site, "where the server stands")->type_name("SITE");
    init->add_flag("--writable", raw.writable, "let clients write");
    init->add_flag("--force", raw.force, "replace the file that is there, and keep it as FILE.old");
    CLI::App* catalog = app.add_subcommand("catalog", "make, save or move the catalog");
    catalog->fallthrough();
    catalog->require_subcommand(1);
    verb(*catalog, "catalog init");
    verb(*catalog, "catalog export")->add_option("FILE", raw.file);
    CLI::App* import = verb(*catalog, "catalog import");
    import->add_option("FILE", raw.file)->required();
    import->add_flag("--merge", raw.merge, "into a catalog that is not empty: the newest counts");
    verb(*catalog, "catalog migrate")->add_option("TO-URL", raw.to)->required();
    CLI::App* rebuild = verb(*catalog, "catalog rebuild");
    rebuild->add_option("--from", raw.from, "servers' state directories, or one that has them")
        ->type_name("DIR");
    rebuild->add_flag("--merge", raw.merge, "into a catalog that is not empty: the newest counts");
}

// ---- help

struct HelpRow {
    std::string left;
    std::string right;
};

std::string rows_text(const std::vector<HelpRow>& rows) {
    std::size_t width = 0;
    for (const HelpRow& row : rows) {
        width = std::max(width, row.left.size());
    }
    std::string text;
    for (const HelpRow& row : rows) {
        text += fmt::format("  {:<{}}  {}\n", row.left, width, row.right);
    }
    return text;
}

std::string usage_of(const VerbInfo& verb) {
    return fmt::format("{}{}{}", verb.name, verb.arguments.empty() ? "" : " ", verb.arguments);
}

HelpRow option_row(const CLI::Option& option) {
    std::string left;
    for (const std::string& name : option.get_snames()) {
        left += fmt::format("-{}, ", name);
    }
    left += fmt::format("--{}", option.get_lnames().front());
    if (option.get_type_size() > 0) {
        left += fmt::format(" {}", option.get_type_name());
    }
    return {left, option.get_description()};
}

std::vector<HelpRow> option_rows(const CLI::App& app, const VerbInfo* verb) {
    std::vector<HelpRow> rows;
    for (const CLI::Option* option : app.get_options()) {
        const bool named = !option->get_lnames().empty();
        const bool inherited = option == app.get_help_ptr() && app.get_parent() != nullptr;
        if (named && !inherited &&
            (verb == nullptr || takes_option(*verb, option->get_lnames().front()))) {
            rows.push_back(option_row(*option));
        }
    }
    return rows;
}

// The options of verbs, each with the verb that has it.
void add_verb_options(const CLI::App& app, const std::string& path, std::vector<HelpRow>& rows) {
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        const std::string name = path + sub->get_name();
        for (const HelpRow& row : option_rows(*sub, nullptr)) {
            rows.push_back({row.left, fmt::format("{}: {}", name, row.right)});
        }
        add_verb_options(*sub, name + " ", rows);
    }
}

std::vector<HelpRow> verb_rows(std::string_view beginning) {
    std::vector<HelpRow> verbs;
    for (const VerbInfo& verb : all_verbs()) {
        if (verb.name.starts_with(beginning)) {
            verbs.push_back({usage_of(verb), std::string(verb.summary)});
        }
    }
    return verbs;
}

std::string program_help(const CLI::App& app) {
    std::vector<HelpRow> options;
    add_verb_options(app, "", options);
    return fmt::format(
        "usage: signpost [OPTION]... VERB [ARGUMENT]...\n\n{}\nverbs:\n{}\noptions:\n{}\n"
        "options of one verb:\n{}\nexamples:\n"
        "  signpost ls\n"
        "  signpost where web01/vda\n"
        "  qemu-img info \"$(signpost uri web01/vda)\"\n"
        "  signpost servers add vault nbd://127.0.0.1:10810 --foreign\n\n{}",
        kAbout, rows_text(verb_rows("")), rows_text(option_rows(app, nullptr)), rows_text(options),
        kExitStatus);
}

std::string verb_help(const CLI::App& app, const CLI::App& sub, const VerbInfo& verb) {
    std::vector<HelpRow> options = option_rows(sub, nullptr);
    for (HelpRow& row : option_rows(app, &verb)) {
        options.push_back(std::move(row));
    }
    const std::string alias =
        verb.alias.empty() ? "" : fmt::format(" (also: signpost {})", verb.alias);
    std::string examples;
    for (std::string_view rest = verb.examples; !rest.empty();) {
        const std::size_t line = rest.find('\n') + 1;
        examples += fmt::format("  {}", rest.substr(0, line));
        rest.remove_prefix(line);
    }
    return fmt::format("usage: signpost {} [OPTION]...\n\n{}{}\n\noptions:\n{}\nexamples:\n{}",
                       usage_of(verb), verb.summary, alias, rows_text(options), examples);
}

// ---- what was chosen

struct Choice {
    std::string verb;  // canonical; empty: none, or one that needs a second word
    const CLI::App* app;
};

Choice choice_of(const CLI::App& app) {
    Choice choice{"", &app};
    while (!choice.app->get_subcommands().empty()) {
        choice.app = choice.app->get_subcommands().front();
        choice.verb += choice.verb.empty() ? "" : " ";
        choice.verb += choice.app->get_name();
    }
    if (choice.verb == "servers") {
        choice.verb = "servers list";
    } else if (choice.verb == "sites") {
        choice.verb = "sites list";
    } else if (choice.verb == "files") {
        choice.verb = "files ls";
    } else if (choice.verb == "catalog") {
        choice.verb = "catalog init";
    }
    return choice;
}

std::string help_for(const CLI::App& app) {
    const Choice choice = choice_of(app);
    const VerbInfo* verb = find_verb(choice.verb);
    if (verb == nullptr) {
        return program_help(app);
    }
    const std::string family = choice.app->get_name() + " ";
    std::vector<HelpRow> verbs = verb_rows(family);
    return verb_help(app, *choice.app, *verb) +
           (verbs.empty() ? "" : fmt::format("\nverbs:\n{}", rows_text(verbs)));
}

// CLI11's own words, made one line of ours.
std::string refusal(const CLI::App& app, const CLI::ParseError& error) {
    const Choice choice = choice_of(app);
    const bool verb_missing = choice.app->get_require_subcommand_min() > 0;
    if (verb_missing && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
        const std::string family = choice.app == &app ? "" : choice.app->get_name() + " ";
        const std::vector<std::string> rest = app.remaining(true);
        return rest.empty() ? fmt::format("which {}verb? see signpost {}--help", family, family)
                            : fmt::format("{} is no {}verb; see signpost {}--help",
                                          escaped(rest.front()), family, family);
    }
    std::string text = error.what();
    if (text.starts_with("The ")) {
        text.front() = 't';
    }
    return fmt::format("{}; see signpost {}{}--help", escaped(text, 400), choice.verb,
                       choice.verb.empty() ? "" : " ");
}

void note_given_options(const CLI::App& app, RawArguments& raw) {
    for (const CLI::Option* option : app.get_options()) {
        if (option->count() > 0 && !option->get_lnames().empty()) {
            raw.given_options.push_back(option->get_lnames().front());
        }
    }
}

}  // namespace

Outcome<std::variant<Invocation, Answer>> parse_command_line(const std::vector<std::string>& words,
                                                             const Defaults& defaults) {
    Parser parser;
    try {
        parser.app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    } catch (const CLI::CallForHelp&) {
        return Answer{help_for(parser.app)};
    } catch (const CLI::CallForVersion& version) {
        return Answer{fmt::format("{}\n", version.what())};
    } catch (const CLI::ParseError& error) {
        return failure(ExitCode::usage, refusal(parser.app, error));
    }
    parser.raw.verb = choice_of(parser.app).verb;
    note_given_options(parser.app, parser.raw);
    auto invocation = check_arguments(parser.raw, defaults);
    if (!invocation) {
        return std::unexpected(invocation.error());
    }
    return std::move(*invocation);
}

}  // namespace signpost
