// SPDX-License-Identifier: BSD-3-Clause
//
// `sessions`: the clients that a server of this machine has now, and the end of one of them.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>

#include "cli/control_client.h"
#include "cli/federation_view.h"
#include "cli/verbs.h"
#include "nbd-server/http/session_report.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kPause{2};

const std::vector<Column> kColumns = {{"id", true},   {"disk"},          {"client"},     {"route"},
                                      {"read", true}, {"written", true}, {"rate", true}, {"since"}};

std::string route_text(const SessionReport& session) {
    if (session.route == "local") {
        return "local";
    }
    const std::string from = session.peer.empty() ? "" : " of " + session.peer;
    return session.route == "cache" ? fmt::format("cache{}", from)
           : session.peer.empty()   ? std::string("relay")
                                    : fmt::format("relay via {}", session.peer);
}

bool print_sessions(const Context& context, const SessionsAnswer& answer) {
    Table table(kColumns, context.options.table);
    const std::int64_t now = std::time(nullptr);
    for (const SessionReport& session : answer.sessions) {
        const bool exact = context.options.bytes;
        table.add({{std::to_string(session.id)},
                   {shown_name(context.console, session.disk)},
                   {escaped(session.client, 400)},
                   {escaped(route_text(session))},
                   {shown_size(context.options, session.read)},
                   {shown_size(context.options, session.written)},
                   {exact ? std::to_string(session.rate())
                          : fmt::format("{:.1f} MB/s", static_cast<double>(session.rate()) / 1e6)},
                   {age(session.since, now)}});
    }
    bool reader = table.write(context.console);
    if (context.console.output_is_terminal() && context.options.table.header) {
        reader = context.console.out(
            fmt::format("{} on {}\n", counted(answer.sessions.size(), "session"), answer.server));
    }
    return reader;
}

// False: nobody reads any more.
Outcome<bool> show(const Context& context, bool again) {
    const auto text = ask_control(context.options, "/api/v1/sessions");
    if (!text) {
        return std::unexpected(text.error());
    }
    const auto answer = parse_sessions(*text);
    if (!answer) {
        return failure(ExitCode::failed, answer.error().message);
    }
    if (context.json()) {
        return context.console.out(
            context.options.json == JsonMode::lines ? session_lines(answer->sessions) : *text);
    }
    if (again && context.console.output_is_terminal()) {
        context.console.out("\x1b[H\x1b[J");
    }
    return print_sessions(context, *answer);
}

}  // namespace

VerbResult run(const Context& context, const SessionsVerb& verb) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    for (;;) {
        const auto shown = show(context, verb.watch);
        if (!shown) {
            return std::unexpected(shown.error());
        }
        if (const auto written = context.console.finish(); !written) {
            return std::unexpected(written.error());
        }
        if (!verb.watch || !*shown) {
            return ExitCode::ok;
        }
        std::this_thread::sleep_for(kPause);
    }
}

VerbResult run(const Context& context, const SessionsKillVerb& verb) {
    const Options& options = context.options;
    if (!options.dry_run && !options.yes && context.console.can_ask() &&
        !context.console.ask(fmt::format("End session {}? Its client loses the disk until it "
                                         "connects again.",
                                         verb.id))) {
        return failure(ExitCode::failed, "nothing was changed; --yes does not ask");
    }
    if (options.dry_run) {
        const auto text = ask_control(options, "/api/v1/sessions");
        const auto answer = text ? parse_sessions(*text) : Result<SessionsAnswer>(SessionsAnswer{});
        if (!text) {
            return std::unexpected(text.error());
        }
        if (!answer || std::ranges::count(answer->sessions, verb.id, &SessionReport::id) == 0) {
            return failure(
                ExitCode::no_such_disk,
                fmt::format("no session has number {}; `signpost sessions` lists them", verb.id));
        }
    } else if (const auto ended =
                   ask_control(options, fmt::format("/api/v1/sessions/kill?id={}", verb.id),
                               ControlCall::change);
               !ended) {
        return std::unexpected(ended.error());
    }
    context.console.out(
        context.json()
            ? fmt::format("{{\"session\": {}, \"dry_run\": {}}}\n", verb.id, options.dry_run)
            : fmt::format("session {} {}\n", verb.id, options.dry_run ? "would be ended" : "ends"));
    return ExitCode::ok;
}

}  // namespace signpost
