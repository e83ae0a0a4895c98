// SPDX-License-Identifier: BSD-3-Clause

#include "cli/raw_arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "cli/verb_table.h"
#include "nbd-server/disk/wished_copies.h"

namespace signpost {

namespace {

std::unexpected<Failure> usage(std::string message) {
    return failure(ExitCode::usage, std::move(message));
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

Outcome<DiskName> parse_disk(std::string_view text) {
    auto name = DiskName::parse(text);
    if (!name) {
        return usage(fmt::format("{}; `signpost ls` lists the names", name.error().message));
    }
    return std::move(*name);
}

Outcome<std::vector<DiskName>> parse_disks(const std::vector<std::string>& texts) {
    std::vector<DiskName> disks;
    for (const std::string& text : texts) {
        auto disk = parse_disk(text);
        if (!disk) {
            return std::unexpected(disk.error());
        }
        disks.push_back(std::move(*disk));
    }
    return disks;
}

Outcome<NbdUri> parse_uri(std::string_view text) {
    auto uri = NbdUri::parse(text);
    if (!uri) {
        return usage(uri.error().message);
    }
    return std::move(*uri);
}

Outcome<void> parse_server(std::string_view text, std::string_view origin) {
    if (const auto checked = check_server_name(text); !checked) {
        return usage(fmt::format("{}: {}", origin, checked.error().message));
    }
    return {};
}

Outcome<JsonMode> parse_json(std::string_view text) {
    if (text.empty()) {
        return JsonMode::none;
    }
    if (text == "whole") {
        return JsonMode::whole;
    }
    if (text == "lines") {
        return JsonMode::lines;
    }
    return usage(fmt::format("--json={} is unknown; use --json, or --json=lines", escaped(text)));
}

Outcome<ColorMode> parse_color(std::string_view text) {
    if (text.empty() || text == "auto") {
        return ColorMode::automatic;
    }
    if (text == "always") {
        return ColorMode::always;
    }
    if (text == "never") {
        return ColorMode::never;
    }
    return usage(fmt::format("--color={} is unknown; use auto, always or never", escaped(text)));
}

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const auto comma = std::min(text.find(','), text.size());
        words.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return words;
}

Outcome<void> check_given(const RawArguments& raw) {
    const VerbInfo* verb = find_verb(raw.verb);
    for (const std::string& option : raw.given_options) {
        if (verb != nullptr && !takes_option(*verb, option)) {
            return usage(fmt::format("--{} means nothing to `signpost {}`; see signpost {} --help",
                                     option, raw.verb, raw.verb));
        }
    }
    return {};
}

Outcome<void> take_server(const RawArguments& raw, const Defaults& defaults, Options& options) {
    options.server_given = std::ranges::count(raw.given_options, "server") > 0;
    if (options.server_given) {
        options.own_server = raw.server;
        return parse_server(raw.server, "--server");
    }
    if (!defaults.server.empty()) {
        options.own_server = defaults.server;
        return parse_server(defaults.server, "SIGNPOST_SERVER");
    }
    options.own_server = defaults.host_name;
    options.disk_socket = defaults.disk_socket;
    return {};
}

Outcome<void> take_limit(const RawArguments& raw, Options& options) {
    if (std::ranges::count(raw.given_options, "limit") == 0) {
        return {};
    }
    options.limit = parse_number<std::uint64_t>(raw.limit);
    if (!options.limit || *options.limit == 0) {
        return usage(fmt::format("--limit {}: a number of disks, 1 or more", escaped(raw.limit)));
    }
    return {};
}

Outcome<void> take_uri(const RawArguments& raw, Options& options) {
    if (std::ranges::count(raw.given_options, "uri") == 0) {
        return {};
    }
    auto uri = parse_uri(raw.uri);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    if (!uri->export_name.empty()) {
        return usage(fmt::format("--uri {}: the server's address, without an export name: {}",
                                 escaped(raw.uri), uri->with_export("").str()));
    }
    options.uri = std::move(*uri);
    return {};
}

Outcome<Options> take_options(const RawArguments& raw, const Defaults& defaults) {
    Options options;
    const bool catalog_given = std::ranges::count(raw.given_options, "catalog") > 0;
    options.catalog = catalog_given ? raw.catalog : defaults.catalog;
    if (options.catalog.empty()) {
        return usage("--catalog: a URL such as sqlite:/var/lib/signpost/catalog.db");
    }
    const auto json = parse_json(raw.json);
    const auto color = parse_color(raw.color);
    for (const auto& checked :
         {json ? Outcome<void>() : std::unexpected(json.error()),
          color ? Outcome<void>() : std::unexpected(color.error()), take_limit(raw, options),
          take_uri(raw, options), take_server(raw, defaults, options)}) {
        if (!checked) {
            return std::unexpected(checked.error());
        }
    }
    options.json = *json;
    options.color = *color;
    options.yes = raw.yes;
    options.dry_run = raw.dry_run;
    options.bytes = raw.bytes;
    options.table = {
        .header = !raw.no_header, .tabs = raw.no_header, .columns = split(raw.columns)};
    options.tls = {raw.tls_certificates, raw.tls_psk, raw.tls_username};
    return options;
}

template <class V>
Outcome<Verb> verb_with_disk(const RawArguments& raw) {
    auto disk = parse_disk(raw.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if constexpr (std::is_same_v<V, WhereVerb> || std::is_same_v<V, ExplainVerb>) {
        return V{std::move(*disk), raw.check};
    } else {
        return V{std::move(*disk)};
    }
}

Outcome<Verb> servers_add(const RawArguments& raw) {
    if (const auto named = parse_server(raw.name, "server name"); !named) {
        return std::unexpected(named.error());
    }
    auto uri = parse_uri(raw.server_uri);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    if (!raw.foreign && !uri->export_name.empty()) {
        return usage(
            fmt::format("{} names an export; a Signpost server is registered by its "
                        "address: {}, an export of another NBD server with --foreign",
                        escaped(raw.server_uri), uri->with_export("").str()));
    }
    const bool has_priority = !raw.priority.empty();
    const auto priority = parse_number<int>(raw.priority);
    if (has_priority && (!priority || *priority < 0 || *priority > 1'000'000)) {
        return usage(fmt::format("--priority {}: a number from 0 to 1000000; lower is asked first",
                                 escaped(raw.priority)));
    }
    if (!is_utf8(raw.site) || raw.site.size() > 128 || escaped(raw.site) != raw.site) {
        return usage(
            fmt::format("--site {}: at most 128 bytes of plain text", escaped(raw.site, 40)));
    }
    const auto site = raw.site.empty() ? std::nullopt : std::optional(raw.site);
    const auto priority_class = parse_priority_class(raw.priority_class);
    if (!raw.priority_class.empty() && !priority_class) {
        return usage(
            fmt::format("--class {}: one of {}", escaped(raw.priority_class), kPriorityClasses));
    }
    return ServersAddVerb{raw.name, std::move(*uri), raw.foreign, site, priority, priority_class};
}

Outcome<Verb> servers_drain(const RawArguments& raw) {
    if (const auto named = parse_server(raw.name, "server name"); !named) {
        return std::unexpected(named.error());
    }
    if (raw.off && raw.wait) {
        return usage("--off and --wait: there is nothing to wait for");
    }
    return ServersDrainVerb{raw.name, raw.off, raw.wait};
}

Outcome<Verb> sites_cost(const RawArguments& raw) {
    for (const std::string* site : {&raw.site_a, &raw.site_b}) {
        if (site->empty() || !is_utf8(*site) || site->size() > 128 || escaped(*site) != *site) {
            return usage(fmt::format("site {}: 1 to 128 bytes of plain text", escaped(*site, 40)));
        }
    }
    if (raw.site_a == raw.site_b) {
        return usage(fmt::format("within a site ({}) it costs nothing", raw.site_a));
    }
    const auto cost = raw.cost == "default" ? -1 : parse_number<int>(raw.cost);
    if (!cost || *cost < -1 || *cost > kMaxSiteCost || raw.cost == "-1") {
        return usage(fmt::format("cost {}: a number from 0 to {}, or `default` ({})",
                                 escaped(raw.cost), kMaxSiteCost, kDefaultSiteCost));
    }
    return SitesCostVerb{{raw.site_a, raw.site_b, *cost}};
}

Outcome<Verb> servers_remove(const RawArguments& raw) {
    if (const auto named = parse_server(raw.name, "server name"); !named) {
        return std::unexpected(named.error());
    }
    return ServersRemoveVerb{raw.name};
}

Outcome<PointPatterns> parse_points(const RawArguments& raw) {
    if (raw.points.empty()) {
        return PointPatterns();
    }
    auto patterns = PointPatterns::parse(raw.points);
    if (!patterns) {
        return usage(fmt::format("--points {}", patterns.error().message));
    }
    return std::move(*patterns);
}

Outcome<Verb> add(const RawArguments& raw) {
    auto points = parse_points(raw);
    if (!points) {
        return std::unexpected(points.error());
    }
    return AddVerb{raw.path, raw.repository, std::move(*points)};
}

Outcome<Verb> scan(const RawArguments& raw) {
    auto points = parse_points(raw);
    if (!points) {
        return std::unexpected(points.error());
    }
    return ScanVerb{raw.directories, raw.prune, std::move(*points)};
}

Outcome<Verb> verify(const RawArguments& raw) {
    auto disks = parse_disks(raw.disks);
    if (!disks) {
        return std::unexpected(disks.error());
    }
    return VerifyVerb{std::move(*disks), raw.glob, raw.trust_holes};
}

// "50M", "1G", "4096": bytes. Empty: 0.
Outcome<std::uint64_t> parse_rate(std::string_view text) {
    if (text.empty()) {
        return 0;
    }
    const std::string_view units = "KMGT";
    const auto unit = units.find(text.back());
    const std::string_view digits = unit == units.npos ? text : text.substr(0, text.size() - 1);
    const auto number = parse_number<std::uint64_t>(digits);
    const unsigned shift = unit == units.npos ? 0 : 10 * static_cast<unsigned>(unit + 1);
    if (!number || *number == 0 || *number > (std::uint64_t{1} << 50) >> shift) {
        return usage(
            fmt::format("--rate {}: bytes per second, as 4096, 500K, 50M or 1G", escaped(text)));
    }
    return *number << shift;
}

Outcome<Verb> diff(const RawArguments& raw) {
    if (raw.disks.size() != 2) {
        return usage("diff takes two disks: signpost diff DISK DISK");
    }
    auto one = parse_disk(raw.disks[0]);
    if (!one) {
        return std::unexpected(one.error());
    }
    auto other = parse_disk(raw.disks[1]);
    if (!other) {
        return std::unexpected(other.error());
    }
    return DiffVerb{std::move(*one), std::move(*other)};
}

template <JobKind kind>
Outcome<Verb> copy(const RawArguments& raw) {
    auto disk = parse_disk(raw.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if (const auto target = parse_server(raw.to, "--to"); !target) {
        return std::unexpected(target.error());
    }
    if (!raw.source.empty()) {
        if (const auto source = parse_server(raw.source, "--from"); !source) {
            return std::unexpected(source.error());
        }
        if (raw.source == raw.to) {
            return usage("--from and --to name the same server");
        }
    }
    const auto rate = parse_rate(raw.rate);
    if (!rate) {
        return std::unexpected(rate.error());
    }
    return CopyVerb{std::move(*disk), {kind, raw.to, raw.source, *rate}, raw.detach};
}

Outcome<Verb> repair(const RawArguments& raw) {
    const auto rate = parse_rate(raw.rate);
    if (!rate) {
        return std::unexpected(rate.error());
    }
    std::optional<unsigned> copies;
    if (!raw.copies.empty()) {
        copies = parse_number<unsigned>(raw.copies);
        if (!copies || *copies == 0 || *copies > kMostCopies) {
            return usage(fmt::format("--copies {}: a number from 1 to {}", escaped(raw.copies),
                                     kMostCopies));
        }
    }
    return RepairVerb{raw.pattern, copies, raw.config, *rate, raw.detach};
}

Outcome<std::string> parse_job(const RawArguments& raw) {
    if (raw.job.find_first_not_of("0123456789abcdef") != raw.job.npos || raw.job.size() > 32) {
        return usage(fmt::format("{} is no job's id, nor the beginning of one; see: signpost jobs",
                                 escaped(raw.job, 40)));
    }
    return raw.job;
}

template <class V>
Outcome<Verb> jobs(const RawArguments& raw) {
    auto id = parse_job(raw);
    if (!id) {
        return std::unexpected(id.error());
    }
    if (std::is_same_v<V, JobsCancelVerb> && id->size() < 4) {
        return usage(
            fmt::format("{} is too little of a job's id; give four digits at least", escaped(*id)));
    }
    return V{std::move(*id)};
}

Outcome<Verb> sessions_kill(const RawArguments& raw) {
    std::uint64_t id = 0;
    const char* const end = raw.session.data() + raw.session.size();
    const auto [stop, error] = std::from_chars(raw.session.data(), end, id);
    if (error != std::errc() || stop != end) {
        return usage(fmt::format("{} is no session's number; see: signpost sessions",
                                 escaped(raw.session, 40)));
    }
    return SessionsKillVerb{id};
}

Outcome<Verb> find(const RawArguments& raw) {
    if (raw.text.empty()) {
        return usage("find what? an empty text is in every name; try: signpost ls");
    }
    return FindVerb{raw.text};
}

Outcome<Verb> catalog_migrate(const RawArguments& raw) {
    if (raw.to.empty()) {
        return usage("catalog migrate TO-URL: a URL such as postgresql://HOST/DATABASE");
    }
    return CatalogMigrateVerb{raw.to};
}

Outcome<DiskPlace> parse_place(const RawArguments& raw) {
    auto place = DiskPlace::parse(raw.place);
    return place ? Outcome<DiskPlace>(std::move(*place)) : usage(place.error().message);
}

Outcome<GuestSources> parse_sources(const RawArguments& raw) {
    GuestSources sources{{}, raw.key, raw.verbose};
    for (const std::string& text : raw.with) {
        auto place = DiskPlace::parse(text.ends_with(':') ? text : text + ":");
        if (!place || place->part || !place->logical.empty() || !place->path.empty()) {
            return usage(fmt::format("--with {}: another disk, as web01/vdb", escaped(text)));
        }
        sources.with.push_back(std::move(*place));
    }
    return sources;
}

// PLACE, made a verb with what else there is to say.
template <class Make>
Outcome<Verb> place_verb(const RawArguments& raw, Outcome<DiskPlace> place, Make make) {
    if (!place) {
        return std::unexpected(place.error());
    }
    auto sources = parse_sources(raw);
    if (!sources) {
        return std::unexpected(sources.error());
    }
    return make(std::move(*place), std::move(*sources));
}

Outcome<Verb> mount(const RawArguments& raw) {
    auto place = DiskPlace::parse(raw.place);
    if (!place) {  // the disk alone is enough
        place = DiskPlace::parse(raw.place + ":");
    }
    if (!place || !place->path.empty()) {
        return usage(
            fmt::format("{}: which disk? as web01/vda or web01/vda:2", escaped(raw.place)));
    }
    return place_verb(raw, std::move(*place), [&](DiskPlace where, GuestSources sources) {
        return MountVerb{std::move(where), raw.directory, raw.background, std::move(sources)};
    });
}

Outcome<void> check_word(std::string_view option, std::string_view word, std::string_view words) {
    for (std::string_view rest = words; !rest.empty();) {
        const auto space = std::min(rest.find(' '), rest.size());
        if (rest.substr(0, space) == word) {
            return {};
        }
        rest.remove_prefix(std::min(space + 1, rest.size()));
    }
    return usage(fmt::format("{} {}: one of {}", option, escaped(word), words));
}

Outcome<unsigned> parse_between(std::string_view option, std::string_view text, unsigned least,
                                unsigned most) {
    const auto number = parse_number<unsigned>(text);
    if (!number || *number < least || *number > most) {
        return usage(
            fmt::format("{} {}: a number from {} to {}", option, escaped(text), least, most));
    }
    return *number;
}

// What boot and drill have in common. The machine's memory.
Outcome<unsigned> check_machine(const RawArguments& raw) {
    const auto bus = check_word("--bus", raw.bus, "virtio sata ide");
    const auto accel = check_word("--accel", raw.accel, "auto kvm tcg");
    if (!bus || !accel) {
        return std::unexpected(bus ? accel.error() : bus.error());
    }
    return parse_between("--memory", raw.memory, 64, 1 << 20);
}

Outcome<Verb> boot(const RawArguments& raw) {
    auto disk = parse_disk(raw.disk);
    const auto memory = check_machine(raw);
    if (!disk || !memory) {
        return std::unexpected(disk ? memory.error() : disk.error());
    }
    if (!raw.vm.empty()) {
        if (const auto named = parse_server(raw.vm, "--vm"); !named) {
            return std::unexpected(named.error());
        }
    }
    if (raw.start + raw.print_xml + raw.print_command > 1) {
        return usage("one of --start, --print-xml and --print-command");
    }
    return BootVerb{std::move(*disk), raw.vm,    raw.directory, *memory,
                    raw.bus,          raw.accel, raw.start,     raw.print_xml};
}

Outcome<Verb> drill(const RawArguments& raw) {
    std::vector<std::string> names = raw.disks;
    for (std::string& name : names) {
        name += raw.at.empty() ? "" : "@" + raw.at;
    }
    auto disks = parse_disks(names);
    const auto memory = check_machine(raw);
    const auto sign = check_word("--sign", raw.sign, "auto agent serial screen");
    const auto timeout = parse_between("--timeout", raw.timeout, 1, 24 * 3600);
    const auto oldest =
        raw.oldest.empty() ? Outcome<unsigned>(0) : parse_between("--oldest", raw.oldest, 1, 10000);
    for (const auto& checked :
         {disks ? Outcome<unsigned>(0) : std::unexpected(disks.error()), memory, timeout, oldest,
          sign ? Outcome<unsigned>(0) : std::unexpected(sign.error())}) {
        if (!checked) {
            return std::unexpected(checked.error());
        }
    }
    if (!raw.history && disks->empty() == (*oldest == 0)) {
        return usage("drill which disks? name them, or say --oldest N");
    }
    return DrillVerb{std::move(*disks), raw.sign, raw.expect, std::chrono::seconds(*timeout),
                     *memory,           raw.bus,  raw.accel,  *oldest,
                     raw.history};
}

Outcome<Verb> init(const RawArguments& raw) {
    InitVerb verb{.file = raw.file,
                  .repositories = {},
                  .site = raw.site,
                  .listen = raw.listen,
                  .http = raw.http,
                  .catalog_given = std::ranges::count(raw.given_options, "catalog") > 0,
                  .writable = raw.writable,
                  .force = raw.force};
    if (!raw.directories.empty()) {
        verb.repositories = fmt::format("{}", fmt::join(raw.directories, ","));
    }
    return verb;
}

Outcome<Verb> run_verb(const RawArguments& raw) {
    auto disk = parse_disk(raw.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if (raw.command.empty()) {
        return usage(fmt::format("run what? as: signpost run {} -- nbdinfo '$uri'", raw.disk));
    }
    return RunVerb{std::move(*disk), raw.cow, raw.command};
}

Outcome<Verb> files_list(const RawArguments& raw) {
    return place_verb(raw, parse_place(raw), [&](DiskPlace place, GuestSources sources) {
        return FilesListVerb{std::move(place), raw.details, raw.recursive, raw.deleted,
                             std::move(sources)};
    });
}

// A place that is a file.
Outcome<DiskPlace> parse_file_place(const RawArguments& raw) {
    auto place = parse_place(raw);
    if (place && place->path.empty()) {
        return usage(
            fmt::format("{}: which file? as {}/etc/hosts", escaped(raw.place), escaped(raw.place)));
    }
    return place;
}

Outcome<Verb> files_cat(const RawArguments& raw) {
    return place_verb(raw, parse_file_place(raw), [&](DiskPlace place, GuestSources sources) {
        return FilesCatVerb{std::move(place), raw.deleted, std::move(sources)};
    });
}

Outcome<Verb> files_get(const RawArguments& raw) {
    return place_verb(raw, parse_file_place(raw), [&](DiskPlace place, GuestSources sources) {
        return FilesGetVerb{std::move(place), raw.destination, raw.recursive,     raw.tar,
                            raw.force,        raw.deleted,     std::move(sources)};
    });
}

Outcome<Verb> files_find(const RawArguments& raw) {
    auto place = raw.text.empty() ? parse_file_place(raw) : parse_place(raw);
    if (place && raw.all_points && !std::holds_alternative<DiskName>(place->disk)) {
        return usage(
            "--all-points: the restore points of a disk are known to the catalog, so name the "
            "disk, not a URI");
    }
    return place_verb(raw, std::move(place), [&](DiskPlace where, GuestSources sources) {
        return FilesFindVerb{std::move(where), raw.text, raw.all_points, raw.deleted,
                             std::move(sources)};
    });
}

Outcome<Verb> take_verb(const RawArguments& raw) {
    using Make = Outcome<Verb> (*)(const RawArguments&);
    struct Entry {
        std::string_view name;
        Make make;
    };
    static constexpr Entry kMakers[] = {
        {"ls",
         [](const RawArguments& r) -> Outcome<Verb> {
             return ListVerb{r.pattern, r.list_points};
         }},
        {"find", find},
        {"where", verb_with_disk<WhereVerb>},
        {"explain", verb_with_disk<ExplainVerb>},
        {"info", verb_with_disk<InfoVerb>},
        {"uri", verb_with_disk<UriVerb>},
        {"rm", verb_with_disk<RemoveVerb>},
        {"servers list", [](const RawArguments&) -> Outcome<Verb> { return ServersListVerb{}; }},
        {"servers add", servers_add},
        {"servers rm", servers_remove},
        {"servers drain", servers_drain},
        {"sites list", [](const RawArguments&) -> Outcome<Verb> { return SitesListVerb{}; }},
        {"sites cost", sites_cost},
        {"add", add},
        {"scan", scan},
        {"verify", verify},
        {"diff", diff},
        {"copy", copy<JobKind::copy>},
        {"move", copy<JobKind::move>},
        {"repair", repair},
        {"jobs", jobs<JobsVerb>},
        {"jobs cancel", jobs<JobsCancelVerb>},
        {"files ls", files_list},
        {"files cat", files_cat},
        {"files get", files_get},
        {"files find", files_find},
        {"mount", mount},
        {"run", run_verb},
        {"sessions", [](const RawArguments& r) -> Outcome<Verb> { return SessionsVerb{r.watch}; }},
        {"sessions kill", sessions_kill},
        {"boot", boot},
        {"drill", drill},
        {"status", [](const RawArguments&) -> Outcome<Verb> { return StatusVerb{}; }},
        {"cache",
         [](const RawArguments& r) -> Outcome<Verb> { return CacheVerb{r.directories.front()}; }},
        {"doctor", [](const RawArguments& r) -> Outcome<Verb> { return DoctorVerb{r.config}; }},
        {"init", init},
        {"catalog init", [](const RawArguments&) -> Outcome<Verb> { return CatalogInitVerb{}; }},
        {"catalog export",
         [](const RawArguments& r) -> Outcome<Verb> { return CatalogExportVerb{r.file}; }},
        {"catalog import",
         [](const RawArguments& r) -> Outcome<Verb> {
             return CatalogImportVerb{r.file, r.merge};
         }},
        {"catalog migrate", catalog_migrate},
        {"catalog rebuild",
         [](const RawArguments& r) -> Outcome<Verb> {
             return CatalogRebuildVerb{r.from, r.merge};
         }},
    };
    const auto entry = std::ranges::find(kMakers, std::string_view(raw.verb), &Entry::name);
    if (entry == std::end(kMakers)) {
        return usage("which verb? see signpost --help");
    }
    return entry->make(raw);
}

}  // namespace

Outcome<Invocation> check_arguments(const RawArguments& raw, const Defaults& defaults) {
    if (const auto given = check_given(raw); !given) {
        return std::unexpected(given.error());
    }
    auto verb = take_verb(raw);
    if (!verb) {
        return std::unexpected(verb.error());
    }
    auto options = take_options(raw, defaults);
    if (!options) {
        return std::unexpected(options.error());
    }
    if (auto* rebuild = std::get_if<CatalogRebuildVerb>(&*verb);
        rebuild != nullptr && rebuild->from.empty()) {
        rebuild->from.push_back(defaults.state_directory);
    }
    return Invocation{std::move(*options), std::move(*verb)};
}

}  // namespace signpost
