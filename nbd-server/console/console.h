// SPDX-License-Identifier: BSD-3-Clause
//
// ServerConsole is what a server shows of itself and of the federation: the page, the JSON answers
// below /api/v1/, and the metrics. It knows HTTP only as requests and answers; what it tells of
// disks is what the command's --json tells, made by the same code.
//
// Lifetime: the parts outlive it, and it outlives the HttpServers that ask it. Threads: any.

#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "cli/invocation.h"
#include "nbd-server/console/disk_census.h"
#include "nbd-server/console/peer_watch.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/http/http_message.h"
#include "nbd-server/http/metrics_text.h"
#include "nbd-server/http/person.h"
#include "nbd-server/http/session_report.h"
#include "nbd-server/http/sign_in.h"

namespace signpost {

// Which disks somebody may see, as the access rules have it; empty: all.
using Eyes = std::function<bool(std::string_view disk)>;

// What somebody wanted to see of a disk.
struct FileUse {
    bool list;  // names, else a file's content
    std::string disk;
    std::string path;  // empty: partitions
};

unsigned status_of(ExitCode code);

class ServerConsole {
   public:
    // What it is told by the server. Called on any thread.
    struct Parts {
        Catalog& catalog;  // the server's own way to it
        std::string server;
        std::string uri;          // by which clients reach this server; empty: not known
        std::string catalog_url;  // for answers that say where it is
        PeerTls tls;              // towards other servers

        bool watches = true;  // peers and disks, now and then, for what nobody waits for

        std::function<Eyes(const Person& person)> eyes;
        std::function<void(MetricsText& text)> add_metrics;
        std::int64_t certificate_end = 0;     // seconds since 1970; 0: there is none
        std::chrono::seconds stale_after{0};  // of restore points; 0: not judged
        std::string users = {};               // file of who may sign in; empty: nobody
        std::function<std::string(const Person& person)> address;
        std::function<void(const Person& person, const std::string& user, bool good)> signed_in;
        // Serves the client on SOCKET as that person; false: there is no room. Empty: files of
        // disks are not shown.
        std::function<bool(UniqueFd socket, const Person& person)> serve_disk;
        // WHY: it was not had; empty: it was.
        std::function<void(const Person& person, const FileUse& use, const std::string& why)>
            file_used;
        std::function<std::vector<SessionReport>()> sessions;
        std::function<bool(std::uint64_t id, const Person& by)> end_session;  // false: none such
    };

    explicit ServerConsole(Parts parts);

    // CONTROL: it came by the socket that only who runs the server can open.
    HttpAnswer answer(const HttpRequest& request, bool control);

    // Answers that take long fail soon from now on.
    void stop() { stopping_.store(true); }

   private:
    using Answerer = HttpAnswer (ServerConsole::*)(const HttpRequest& request,
                                                   const Person& person);
    struct Place {
        std::string_view path;
        Answerer answerer;
    };
    static const Place kPlaces[];

    HttpAnswer page(const HttpRequest& request, const Person& person);
    HttpAnswer disks(const HttpRequest& request, const Person& person);
    HttpAnswer disk(const HttpRequest& request, const Person& person);
    HttpAnswer explain(const HttpRequest& request, const Person& person);
    HttpAnswer servers(const HttpRequest& request, const Person& person);
    HttpAnswer status(const HttpRequest& request, const Person& person);
    HttpAnswer sessions(const HttpRequest& request, const Person& person);
    HttpAnswer doctor(const HttpRequest& request, const Person& person);
    HttpAnswer metrics(const HttpRequest& request, const Person& person);
    HttpAnswer login(const HttpRequest& request, const Person& person);
    HttpAnswer logout(const HttpRequest& request, const Person& person);
    HttpAnswer end_session(const HttpRequest& request, const Person& person);
    // console_files.cc
    HttpAnswer files(const HttpRequest& request, const Person& person);
    HttpAnswer file(const HttpRequest& request, const Person& person);
    HttpAnswer of_files(const HttpRequest& request, const Person& person, bool download);
    std::optional<HttpAnswer> refuse_files(const Person& person) const;
    std::shared_ptr<void> take_place(const std::string& user);

    std::map<std::string, ProbeResult> peers() const;
    std::unique_ptr<Catalog> catalog_for(const Person& person) const;
    Options options_for(const Person& person) const;

    const Parts parts_;
    SignIn sign_in_;
    std::unique_ptr<PeerWatch> watch_;    // null: peers are not asked
    std::unique_ptr<DiskCensus> census_;  // null: disks are not counted
    std::atomic<bool> stopping_{false};
    std::mutex places_mutex_;
    std::map<std::string, unsigned> places_;  // commands by user; guarded by places_mutex_
    std::timed_mutex slow_;                   // held by what asks other servers: one at a time
};

}  // namespace signpost
