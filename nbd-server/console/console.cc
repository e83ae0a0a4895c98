// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "cli/json_output.h"
#include "nbd-server/console/api_json.h"
#include "nbd-server/console/captured_verb.h"
#include "nbd-server/console/copy_lines.h"
#include "nbd-server/console/visible_catalog.h"
#include "nbd-server/http/page.h"

namespace signpost {

unsigned status_of(ExitCode code) {
    switch (code) {
        case ExitCode::ok:
        case ExitCode::problems_found:
            return 200;
        case ExitCode::usage:
            return 400;
        case ExitCode::no_such_disk:
            return 404;
        case ExitCode::peer_unreachable:
        case ExitCode::catalog_unreachable:
            return 503;
        case ExitCode::denied:
            return 403;
        case ExitCode::conflict:
            return 409;
        default:
            return 500;
    }
}

namespace {

constexpr std::size_t kMaxPage = 1000;
constexpr std::size_t kUsualPage = 100;
constexpr std::size_t kMaxText = 4096;         // of what is looked for
constexpr std::chrono::seconds kPatience{10};  // for another's question to be answered

HttpAnswer failed(ExitCode code, std::string_view message) {
    return {.status = status_of(code), .body = error_answer(message, static_cast<int>(code))};
}

HttpAnswer failed(const Error& error) {
    const Failure failure = catalog_failure(error);
    return failed(failure.code, failure.message);
}

HttpAnswer good(std::string body) {
    return {.body = std::move(body)};
}

HttpAnswer busy() {
    return failed(ExitCode::peer_unreachable,
                  "servers are being asked for somebody else: try again in a moment");
}

HttpAnswer of_verb(const CapturedVerb& verb) {
    return verb.output.empty() ? failed(verb.code, verb.message) : good(plain_answer(verb.output));
}

Result<std::size_t> limit_of(const HttpRequest& request) {
    const std::string_view text = request.value("limit");
    if (text.empty()) {
        return kUsualPage;
    }
    std::size_t limit = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc() || end != text.data() + text.size() || limit == 0) {
        return fail(Errc::invalid, fmt::format("limit: a number from 1 to {}", kMaxPage));
    }
    return std::min(limit, kMaxPage);
}

Result<DiskName> name_of(const HttpRequest& request) {
    auto name = DiskName::parse(std::string(request.value("name")));
    if (!name) {
        return fail(Errc::invalid, fmt::format("name: {}", name.error().message));
    }
    return name;
}

void add_peers(MetricsText& text, const std::string& own,
               const std::map<std::string, ProbeResult>& peers) {
    text.family("peer_up", MetricsText::Kind::gauge, "Whether the server answered when asked.");
    for (const auto& [server, probe] : peers) {
        if (server != own) {
            text.sample({{"peer", server}}, probe.answered ? 1 : 0);
        }
    }
    text.family("peer_rtt_seconds", MetricsText::Kind::gauge, "How long the server took to greet.");
    for (const auto& [server, probe] : peers) {
        if (server != own && probe.answered) {
            text.sample_seconds({{"peer", server}},
                                static_cast<double>(probe.latency.count()) / 1e6);
        }
    }
}

void add_disks(MetricsText& text, const DiskCounts& counts, bool judged) {
    using Kind = MetricsText::Kind;
    text.family("catalog_disks", Kind::gauge, "Disks and restore points, by their best copy.");
    for (const char* const state : {"ready", "copying", "stale", "damaged"}) {
        const auto found = counts.by_state.find(state);
        text.sample({{"state", state}}, found == counts.by_state.end() ? 0 : found->second);
    }
    text.family("catalog_copies", Kind::gauge, "Copies that a server holds.");
    for (const auto& [server, count] : counts.by_server) {
        text.sample({{"server", server}}, count);
    }
    text.gauge("disks_single_copy", "Disks and restore points with one ready copy.",
               counts.single_copy);
    text.gauge("disks_unreachable", "Those without a ready copy on a server that answers.",
               counts.unreachable);
    text.gauge("disks_with_points", "Disks that have restore points.", counts.with_points);
    if (counts.stalest != 0) {
        text.gauge("stalest_disk_timestamp_seconds",
                   "The newest restore point of the disk whose newest one is oldest.",
                   static_cast<std::uint64_t>(std::max<std::int64_t>(counts.stalest, 0)));
    }
    if (judged) {
        text.gauge("disks_stale", "Disks whose newest restore point is older than stale-after.",
                   counts.stale);
    }
    text.gauge("census_timestamp_seconds", "When the disks were last counted.",
               static_cast<std::uint64_t>(counts.counted_at));
    text.family("census_duration_seconds", Kind::gauge, "How long it took to count them.");
    text.sample_seconds({}, static_cast<double>(counts.duration.count()) / 1e6);
}

HttpAnswer bad_question(const Error& error) {
    return failed(ExitCode::usage, error.message);
}

}  // namespace

const ServerConsole::Place ServerConsole::kPlaces[] = {
    {"/", &ServerConsole::page},
    {"/api/v1/disks", &ServerConsole::disks},
    {"/api/v1/disk", &ServerConsole::disk},
    {"/api/v1/explain", &ServerConsole::explain},
    {"/api/v1/servers", &ServerConsole::servers},
    {"/api/v1/status", &ServerConsole::status},
    {"/api/v1/sessions", &ServerConsole::sessions},
    {"/api/v1/doctor", &ServerConsole::doctor},
    {"/api/v1/files", &ServerConsole::files},
    {"/api/v1/file", &ServerConsole::file},
    {"/api/v1/login", &ServerConsole::login},
    {"/api/v1/logout", &ServerConsole::logout},
    {"/metrics", &ServerConsole::metrics},
};

ServerConsole::ServerConsole(Parts parts)
    : parts_(std::move(parts)), sign_in_({.users = parts_.users}) {
    if (parts_.watches) {
        watch_ = std::make_unique<PeerWatch>(
            PeerWatch::Settings{.catalog = parts_.catalog, .tls = parts_.tls});
        census_ = std::make_unique<DiskCensus>(
            DiskCensus::Settings{.catalog = parts_.catalog,
                                 .stale_after = parts_.stale_after,
                                 .is_down = [this](const std::string& server) {
                                     const auto peers = watch_->all();
                                     const auto found = peers.find(server);
                                     return found != peers.end() && !found->second.answered;
                                 }});
    }
}

HttpAnswer ServerConsole::answer(const HttpRequest& request, bool control) {
    const Person person{.user = sign_in_.user_of(request.cookie),
                        .socket = request.socket,
                        .tls = request.tls,
                        .runs_server = control};
    if (request.cross_site && request.path != "/") {
        return failed(ExitCode::denied, "another site's page may not ask this");
    }
    if (control && request.post && request.path == "/api/v1/sessions/kill") {
        return end_session(request, person);
    }
    const auto place = std::ranges::find(kPlaces, request.path, &Place::path);
    if (place == std::end(kPlaces) || request.post) {
        return failed(ExitCode::no_such_disk,
                      "there is nothing here; signpostd(8), CONSOLE, has "
                      "what can be asked");
    }
    return (this->*place->answerer)(request, person);
}

HttpAnswer ServerConsole::page(const HttpRequest& /*request*/, const Person& /*person*/) {
    static const std::string policy = page_policy(page_html());
    return {.type = "text/html; charset=utf-8", .body = std::string(page_html()), .policy = policy};
}

std::map<std::string, ProbeResult> ServerConsole::peers() const {
    return watch_ ? watch_->all() : std::map<std::string, ProbeResult>();
}

std::unique_ptr<Catalog> ServerConsole::catalog_for(const Person& person) const {
    return make_visible_catalog(parts_.catalog, parts_.eyes(person),
                                [this] { return stopping_.load(); });
}

Options ServerConsole::options_for(const Person& person) const {
    Options options;
    options.catalog = parts_.catalog_url;
    options.own_server = parts_.server;
    options.server_given = true;
    options.json = JsonMode::whole;
    options.tls = parts_.tls;
    options.open_catalog = [this, person] { return catalog_for(person); };
    return options;
}

HttpAnswer ServerConsole::disks(const HttpRequest& request, const Person& person) {
    const auto limit = limit_of(request);
    if (!limit) {
        return bad_question(limit.error());
    }
    const std::string_view find = request.value("find");
    const std::string_view prefix = request.value("prefix");
    if (find.size() > kMaxText || prefix.size() > kMaxText) {
        return failed(ExitCode::usage, "that is longer than any name of a disk");
    }
    if (!find.empty() && !prefix.empty()) {
        return failed(ExitCode::usage, "find and prefix exclude each other");
    }
    const auto catalog = catalog_for(person);
    const std::string_view after = request.value("after");
    const auto page =
        find.empty() ? catalog->list(prefix, after, *limit) : catalog->search(find, after, *limit);
    if (!page) {
        return failed(page.error());
    }
    std::vector<std::string> items;
    for (const DiskRecord& disk : *page) {
        items.push_back(list_item_json(disk, disk_size(disk)));
    }
    return good(disks_answer(
        items, page->size() < *limit ? std::optional<std::string>() : page->back().name.str()));
}

// Whether servers can be reached is known from when they were last asked, unless `check` wants it
// to be found out now.
HttpAnswer ServerConsole::disk(const HttpRequest& request, const Person& person) {
    auto name = name_of(request);
    if (!name) {
        return bad_question(name.error());
    }
    Options options = options_for(person);
    std::unique_lock slow(slow_, std::defer_lock);
    if (request.value("check") == "true") {
        if (!slow.try_lock_for(kPatience)) {
            return busy();
        }
    } else {
        options.known_probe = [known = peers()](const std::string& server) {
            const auto found = known.find(server);
            return found == known.end() ? std::optional<ProbeResult>() : found->second;
        };
    }
    const auto info = run_captured(options, InfoVerb{std::move(*name)});
    if (info.output.empty()) {
        return failed(info.code, info.message);
    }
    const std::string disk = disk_of_answer(info.output);
    const auto lines = copy_lines(parts_.uri, disk);
    return good(
        disk_answer(info.output, lines ? lines->uri : "", lines ? lines->lines : CopyLines()));
}

HttpAnswer ServerConsole::explain(const HttpRequest& request, const Person& person) {
    auto name = name_of(request);
    if (!name) {
        return bad_question(name.error());
    }
    return of_verb(run_captured(options_for(person), ExplainVerb{std::move(*name), false}));
}

HttpAnswer ServerConsole::servers(const HttpRequest& /*request*/, const Person& /*person*/) {
    const auto servers = parts_.catalog.servers();
    const auto now = servers ? parts_.catalog.now() : Result<std::int64_t>(0);
    if (!servers || !now) {
        return failed(servers ? now.error() : servers.error());
    }
    std::vector<std::string> items;
    for (const Server& server : *servers) {
        items.push_back(server_json(server, *now));
    }
    return good(servers_answer(items, peers()));
}

HttpAnswer ServerConsole::status(const HttpRequest& /*request*/, const Person& person) {
    Catalog& catalog = parts_.catalog;
    StatusReport report;
    report.catalog = describe_catalog_url(parts_.catalog_url);
    report.schema = catalog.schema_version();
    report.skipped_rows = catalog.skipped_rows();
    const auto counts = census_ ? census_->counts() : std::nullopt;
    report.single_copy_disks = counts ? counts->one_location : 0;
    report.all_disks_seen = counts.has_value();
    const auto sequence = catalog.change_sequence();
    const auto totals = catalog.totals();
    const auto servers = catalog.servers();
    const auto now = catalog.now();
    if (!sequence || !totals || !servers || !now) {
        const Error& error = !sequence  ? sequence.error()
                             : !totals  ? totals.error()
                             : !servers ? servers.error()
                                        : now.error();
        report.trouble = error.message;
        // What is remembered says as of when; any disk will do.
        if (const auto known = catalog.list("", "", 1); known && !known->empty()) {
            report.as_of = known->front().as_of;
        }
        report.servers = servers.value_or(std::vector<Server>());
        report.now = now.value_or(0);
    } else {
        report.change_sequence = *sequence;
        report.totals = *totals;
        report.servers = *servers;
        report.now = *now;
    }
    return good(status_answer(status_json(report), {.server = parts_.server,
                                                    .version = SIGNPOST_VERSION,
                                                    .user = person.user,
                                                    .sign_in = sign_in_.possible(),
                                                    .rules = static_cast<bool>(parts_.eyes(person)),
                                                    .sessions = parts_.sessions().size()}));
}

HttpAnswer ServerConsole::sessions(const HttpRequest& /*request*/, const Person& person) {
    auto sessions = parts_.sessions();
    if (const Eyes may_see = parts_.eyes(person)) {
        std::erase_if(sessions,
                      [&](const SessionReport& session) { return !may_see(session.disk); });
    }
    return good(sessions_json(parts_.server, sessions));
}

HttpAnswer ServerConsole::doctor(const HttpRequest& /*request*/, const Person& person) {
    const std::unique_lock slow(slow_, kPatience);
    if (!slow) {
        return busy();
    }
    return of_verb(run_captured(options_for(person), DoctorVerb{}));
}

HttpAnswer ServerConsole::login(const HttpRequest& request, const Person& person) {
    if (!sign_in_.possible()) {
        return failed(ExitCode::no_such_disk,
                      "nobody can sign in here: see http-users in signpost.toml(5)");
    }
    if (!request.basic) {
        return {.status = 401, .body = error_answer("send a user and a password", 7)};
    }
    auto secret = sign_in_.enter(*request.basic, parts_.address(person));
    const bool denied = !secret && secret.error().code == Errc::denied;
    if (secret || denied) {  // else nobody looked, and the log is not for who asks on and on
        parts_.signed_in(person, request.basic->user, secret.has_value());
    }
    if (!secret) {
        return {.status = denied ? 401u : 429u,
                .body = error_answer(secret.error().message, denied ? 7 : 1)};
    }
    HttpAnswer answer = good("{}\n");
    answer.set_cookie = fmt::format("{}={}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict{}",
                                    kSessionCookie, *secret, request.tls ? "; Secure" : "");
    return answer;
}

HttpAnswer ServerConsole::logout(const HttpRequest& request, const Person& /*person*/) {
    sign_in_.leave(request.cookie);
    HttpAnswer answer = good("{}\n");
    answer.set_cookie = fmt::format("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{}",
                                    kSessionCookie, request.tls ? "; Secure" : "");
    return answer;
}

HttpAnswer ServerConsole::metrics(const HttpRequest& /*request*/, const Person& /*person*/) {
    MetricsText text;
    text.family("build_info", MetricsText::Kind::gauge, "What runs here; always 1.");
    text.sample({{"version", SIGNPOST_VERSION}, {"server", parts_.server}}, 1);
    text.gauge("catalog_up", "Whether the catalog answers.",
               parts_.catalog.change_sequence().has_value() ? 1 : 0);
    parts_.add_metrics(text);
    if (parts_.certificate_end != 0) {
        text.gauge("certificate_expiry_timestamp_seconds", "When this server's certificate ends.",
                   static_cast<std::uint64_t>(parts_.certificate_end));
    }
    add_peers(text, parts_.server, peers());
    if (const auto counts = census_ ? census_->counts() : std::nullopt) {
        add_disks(text, *counts, parts_.stale_after.count() > 0);
    }
    return {.type = MetricsText::kType, .body = text.str()};
}

HttpAnswer ServerConsole::end_session(const HttpRequest& request, const Person& person) {
    const std::string_view text = request.value("id");
    std::uint64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size()) {
        return failed(ExitCode::usage, "id: the number of a session");
    }
    if (!parts_.end_session(id, person)) {
        return failed(ExitCode::no_such_disk,
                      fmt::format("no session has number {}; `signpost sessions` lists them", id));
    }
    return good("{}\n");
}

}  // namespace signpost
