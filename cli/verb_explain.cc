// SPDX-License-Identifier: BSD-3-Clause
//
// `explain`: which way a server would take to a disk now, and why, step by step: the same survey of
// the same rows that the server makes, shown instead of followed.

#include <fmt/format.h>

#include <algorithm>

#include "catalog/point_search.h"
#include "catalog/resolver.h"
#include "cli/federation_view.h"
#include "cli/host_stubs.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

// Where the rows come from: the catalog, or what a server of this machine remembers of it.
struct Source {
    std::optional<FederationView> view;
    std::optional<HostStubs> stubs;
    std::string trouble;  // why the catalog is not asked; empty: it is

    Catalog& rows() const { return view ? view->catalog() : *stubs->kept.rows; }
};

Outcome<Source> open_source(const Options& options) {
    Source source;
    auto view = FederationView::open(options, CatalogUse::read);
    auto answers = view ? view->catalog().change_sequence() : Result<std::uint64_t>(0);
    auto stubs = open_host_stubs(options);
    if (stubs) {
        source.stubs = std::move(*stubs);
    }
    if (view && answers) {
        source.view = std::move(*view);
        return source;
    }
    const Failure failed = view ? catalog_failure(answers.error()) : view.error();
    if (!source.stubs) {
        return failure(failed.code, fmt::format("{} ({})", failed.message, stubs.error().message));
    }
    source.trouble = failed.message;
    return source;
}

Outcome<std::optional<Survey>> survey_of(Catalog& rows, const DiskName& disk,
                                         const std::string& server) {
    auto survey = Resolver(rows, server).survey(disk);
    if (!survey) {
        return std::unexpected(catalog_failure(survey.error()));
    }
    return std::move(*survey);
}

// A name that means nothing is explained as it is: there are no steps.
Outcome<DiskName> disk_to_explain(const Context& context, Catalog& rows, const DiskName& name) {
    auto meant = meant_disk(rows, name);
    if (!meant && meant.error().code == Errc::not_found) {
        context.console.note(fmt::format("signpost: {}", meant.error().message));
        return name;
    }
    if (!meant) {
        return std::unexpected(catalog_failure(meant.error()));
    }
    if (*meant != name) {
        context.console.note(fmt::format("signpost: {}: its newest point, {}",
                                         shown_name(context.console, name.str()),
                                         shown_name(context.console, meant->str())));
    }
    return std::move(*meant);
}

// Whether both lead to the same content at the same servers in the same order.
bool lead_alike(const std::optional<Survey>& a, const std::optional<Survey>& b) {
    if (!a || !b) {
        return !a && !b;
    }
    return std::ranges::equal(
        a->candidates, b->candidates, [](const Candidate& one, const Candidate& other) {
            return one.location.server == other.location.server &&
                   one.location.generation == other.location.generation &&
                   one.location.digest == other.location.digest &&
                   one.location.size == other.location.size && one.passed_over == other.passed_over;
        });
}

// The writable image of a Signpost server may change at any time: never mixed.
bool may_be_mixed(const Candidate& candidate) {
    return candidate.location.read_only ||
           (candidate.server && candidate.server->kind == ServerKind::foreign);
}

void add_steps(ExplainReport& report, const Survey& survey) {
    report.site = survey.from.site;
    const Candidate* first = nullptr;
    for (const Candidate& candidate : survey.candidates) {
        ExplainStep step{.location = candidate.location, .server = candidate.server};
        step.passed_over = candidate.passed_over;
        if (candidate.location.server == report.server) {
            report.own = candidate.location;
        }
        if (candidate.server && !candidate.server->uris.empty()) {
            step.asked_for = candidate.server->uris.front().with_export(
                own_export(survey.disk, candidate.location, candidate.server->kind));
        }
        if (candidate.passed_over.empty()) {
            step.place = ++report.routes;
            first = first == nullptr ? &candidate : first;
            step.silent = is_silent(*candidate.server, survey.from);
            step.same_site =
                !survey.from.site.empty() && candidate.server->site == survey.from.site;
            if (!survey.from.site.empty()) {
                step.site_cost =
                    site_cost(survey.from.costs, survey.from.site, candidate.server->site);
            }
            step.stands_in = first != &candidate && may_be_mixed(*first) &&
                             may_be_mixed(candidate) &&
                             interchangeable(first->location, candidate.location);
            step.heartbeat_age = candidate.server->last_heartbeat == 0
                                     ? -1
                                     : survey.from.now - candidate.server->last_heartbeat;
        }
        report.steps.push_back(std::move(step));
    }
}

void check(const Options& options, ExplainReport& report) {
    std::vector<ProbeTarget> targets;
    for (const ExplainStep& step : report.steps) {
        const bool known = step.server.has_value();
        targets.push_back({known ? step.server->uris : std::vector<NbdUri>{},
                           own_export(report.disk, step.location,
                                      known ? step.server->kind : ServerKind::foreign)});
    }
    auto results = probe_all(targets, {.tls = options.tls});
    for (std::size_t i = 0; i < results.size(); ++i) {
        report.steps[i].probe = std::move(results[i]);
    }
}

std::string result_of(const ExplainReport& report) {
    const bool own = report.own && report.own->state == LocationState::ready;
    if (own) {
        return fmt::format("{} serves its own image; no other server is asked", report.server);
    }
    if (report.routes == 0) {
        return report.steps.empty() ? "no server has this disk" : "no server can serve this disk";
    }
    const auto stand_ins = std::ranges::count(report.steps, true, &ExplainStep::stands_in);
    const std::string& first = report.steps.front().location.server;
    if (stand_ins > 0) {
        return fmt::format("{} relays it from {}; {} can take over while it is read", report.server,
                           first, counted(static_cast<std::uint64_t>(stand_ins), "other server"));
    }
    return fmt::format(
        "{} relays it from {}; nobody can take over while it is read{}", report.server, first,
        report.routes > 1 ? ": the others are not proven equal (signpost verify)" : "");
}

Outcome<ExplainReport> explain(const Context& context, const ExplainVerb& verb) {
    auto source = open_source(context.options);
    if (!source) {
        return std::unexpected(source.error());
    }
    const auto disk = disk_to_explain(context, source->rows(), verb.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    ExplainReport report{.disk = *disk, .server = context.options.own_server};
    const auto now = source->rows().now();
    if (!now) {
        return std::unexpected(catalog_failure(now.error()));
    }
    report.now = *now;
    report.trouble = source->trouble;
    report.catalog = source->view ? source->view->catalog().description()
                                  : describe_catalog_url(context.options.catalog);
    if (!source->view && !context.options.server_given) {
        report.server = source->stubs->server;
    }
    const auto survey = survey_of(source->rows(), *disk, report.server);
    if (!survey) {
        return std::unexpected(survey.error());
    }
    if (source->stubs) {
        report.stubs_text = stubs_text(*source->stubs, report.now);
        report.stubs_as_of = source->stubs->as_of(report.now);
        report.stubs_server = source->stubs->server;
    }
    if (source->view && source->stubs) {
        const auto kept = survey_of(*source->stubs->kept.rows, *disk, report.server);
        report.stubs_agree = kept && lead_alike(*survey, *kept);
    }
    if (*survey) {
        add_steps(report, **survey);
    }
    if (verb.check) {
        check(context.options, report);
    }
    report.result = result_of(report);
    return report;
}

std::string server_text(const ExplainStep& step) {
    if (!step.server) {
        return "-";
    }
    if (step.server->kind == ServerKind::foreign) {
        return "foreign";
    }
    if (step.heartbeat_age < 0) {
        return step.place == 0 ? "-" : "no heartbeat yet";
    }
    return fmt::format("heartbeat {} s ago{}", step.heartbeat_age, step.silent ? ", silent" : "");
}

std::string site_text(const ExplainStep& step) {
    if (!step.server || step.server->site.empty()) {
        return "-";
    }
    const std::string site = escaped(step.server->site);
    return step.same_site   ? site + " (same)"
           : step.place > 0 ? fmt::format("{} (cost {})", site, step.site_cost)
                            : site;
}

std::string rank_text(const ExplainStep& step) {
    const int servers = step.server ? step.server->priority : kDefaultPriority;
    const bool plain = !step.server || step.server->priority_class == PriorityClass::site_normal;
    return fmt::format("{}{}{}/{}", plain ? "" : to_string(step.server->priority_class),
                       plain ? "" : " ", step.location.priority, servers);
}

std::string why(const ExplainStep& step, const std::string& own) {
    if (step.place == 0) {
        return step.location.server == own ? "this server: its own image comes first"
                                           : "passed over: " + escaped(step.passed_over);
    }
    if (step.place == 1) {
        return "asked first";
    }
    return step.stands_in ? "the same content: takes over" : "not proven equal: for new clients";
}

Cell check_cell(const ExplainStep& step) {
    if (!step.probe) {
        return {"-"};
    }
    if (step.probe->error) {
        return {escaped(step.probe->error->message), Tone::bad};
    }
    return {fmt::format("ok, {}", duration_text(step.probe->latency)), Tone::good};
}

void print_steps(const Context& context, const ExplainReport& report, bool checked) {
    constexpr std::size_t kShown = 24;  // "sha256-32k:" and as much as tells two copies apart
    TableStyle style = context.options.table;
    if (style.columns.empty() && !checked) {
        style.columns = {"place", "server", "state",    "generation", "digest",
                         "site",  "rank",   "liveness", "why"};
    }
    Table table({{"place", true},
                 {"server"},
                 {"state"},
                 {"generation", true},
                 {"digest"},
                 {"site"},
                 {"rank"},
                 {"liveness"},
                 {"why"},
                 {"check"}},
                style);
    for (const ExplainStep& step : report.steps) {
        const Location& location = step.location;
        table.add({{step.place == 0 ? "-" : std::to_string(step.place)},
                   {location.server},
                   {std::string(to_string(location.state))},
                   {std::to_string(location.generation)},
                   {location.digest.empty() ? "unknown" : location.digest.substr(0, kShown)},
                   {site_text(step)},
                   {rank_text(step)},
                   {server_text(step)},
                   {why(step, report.server)},
                   check_cell(step)});
    }
    if (!report.steps.empty()) {
        table.write(context.console);
    }
}

std::string knowledge_of(const ExplainReport& report) {
    if (report.trouble.empty()) {
        return "catalog " + escaped(report.catalog, 400);
    }
    return fmt::format("{}: catalog {} is unreachable", report.stubs_text,
                       escaped(report.catalog, 400));
}

void print(const Context& context, const ExplainReport& report, bool checked) {
    Console& console = context.console;
    console.out(fmt::format("disk       {}\nserver     {}{}\nknowledge  {}\n",
                            shown_name(console, report.disk.str()), report.server,
                            report.site.empty() ? "" : ", site " + escaped(report.site),
                            knowledge_of(report)));
    if (!report.trouble.empty()) {
        console.out(fmt::format("because    {}\n", report.trouble));
    } else if (!report.stubs_text.empty()) {
        console.out(fmt::format("without it {}, {}\n", report.stubs_text,
                                report.stubs_agree ? "lead the same way" : "lead another way"));
    }
    console.out(fmt::format("own image  {}\n",
                            report.own ? std::string(to_string(report.own->state)) : "none"));
    console.out(fmt::format("order      {}\n", kOrderText));
    print_steps(context, report, checked);
    console.out(fmt::format("so         {}\n", report.result));
}

}  // namespace

VerbResult run(const Context& context, const ExplainVerb& verb) {
    const auto report = explain(context, verb);
    if (!report) {
        return std::unexpected(report.error());
    }
    if (context.json()) {
        context.console.out(explain_json(*report) + "\n");
    } else {
        print(context, *report, verb.check);
    }
    const bool unreachable = std::ranges::any_of(report->steps, [](const ExplainStep& step) {
        return step.place > 0 && step.probe && step.probe->error;
    });
    if (report->steps.empty()) {
        return ExitCode::no_such_disk;
    }
    return report->routes == 0 && !report->own ? ExitCode::no_such_disk
           : unreachable                       ? ExitCode::problems_found
                                               : ExitCode::ok;
}

}  // namespace signpost
