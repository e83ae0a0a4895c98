// SPDX-License-Identifier: BSD-3-Clause
//
// PeerConnection is one connection to an NBD server, as the operator's command needs it: to list
// exports, to look at one, and to read one through. It is libnbd with deadlines around it. The URI
// is taken apart by us, so that no word of a catalog row reaches a library that could start a
// program with it, and the relays' address rules hold here too.
//
// TLS: a nbds address means TLS or nothing, with certificates or keys named by the operator.
//
// Lifetime: buffers given to start_read stay until its `done` ran or close() was called.
// Threads: one at a time per connection.
// Errors: unavailable (not reachable, hung, gone), not_found (no such export), denied (refused by
// the server, or by a rule), invalid (settings, or a server that breaks the protocol).

#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "catalog/nbd_uri.h"

struct nbd_handle;

namespace signpost {

struct PeerTls {
    std::string certificates;  // directory
    std::string psk_file;
    std::string username;
};

struct PeerSettings {
    PeerTls tls;
    std::chrono::milliseconds connect{1000};    // name look-up, and again for each address
    std::chrono::milliseconds handshake{2000};  // greeting and TLS
    std::chrono::milliseconds answer{2000};     // each option after that
    std::string differs_from{};                 // a disk, for start_differences()
};

struct ExportFacts {
    std::uint64_t size = 0;
    bool read_only = true;
    bool flush = false;
    bool fua = false;
    bool trim = false;
    bool zero = false;
    bool multi_conn = false;
    bool structured_replies = false;
    bool tls = false;
    bool allocation = false;   // base:allocation was granted; known after open()
    bool differences = false;  // start_differences() can be used; known after open()
    std::uint32_t minimum_block = 1;
    std::uint32_t maximum_payload = 0;  // 0: the server does not say
    std::string description;
};

class PeerConnection {
   public:
    using ReadDone = std::move_only_function<void(int error)>;

    // One run of equal status; offsets as asked.
    struct Run {
        std::uint64_t offset;
        std::uint64_t length;
        bool zero;     // of start_runs()
        bool differs;  // of start_differences()
    };
    using RunsDone = std::move_only_function<void(int error, const std::vector<Run>& runs)>;

    static Result<PeerConnection> connect(const NbdUri& uri, const PeerSettings& settings);

    PeerConnection(PeerConnection&&) noexcept = default;
    PeerConnection& operator=(PeerConnection&&) noexcept = default;
    ~PeerConnection();

    // The names of the exports, as the server lists them. denied: it does not list.
    Result<std::vector<std::string>> list();

    // Looks at an export and stays free to look at others.
    Result<ExportFacts> info(const std::string& export_name);

    // Opens an export: from here on only what follows below.
    Result<ExportFacts> open(const std::string& export_name);

    // DONE runs inside turn(), with 0 or an errno value. OFFSET and length lie within the export.
    Result<void> start_read(std::span<std::byte> buffer, std::uint64_t offset, ReadDone done);
    Result<void> start_runs(std::uint64_t offset, std::uint64_t length, RunsDone done);
    // Where the export may have other bytes than the disk that the settings name.
    Result<void> start_differences(std::uint64_t offset, std::uint64_t length, RunsDone done);

    // Moves bytes and completes requests; waits at most WAIT for the server.
    Result<void> turn(std::chrono::milliseconds wait);

    // The same for a caller that waits for other things, too: what to poll for, and what came.
    pollfd waiting() const;
    Result<void> moved(short events);

    // Ends the connection: what is under way is dropped, no `done` runs any more.
    void close();

   private:
    struct CloseHandle {
        void operator()(nbd_handle* handle) const;
    };

    PeerConnection(NbdUri uri, PeerSettings settings);

    Result<void> prepare();
    Result<void> prepare_tls();
    Result<void> dial();
    Result<void> dial_by_name();
    Result<void> wait_negotiating();
    Result<void> select_export(const std::string& export_name);
    Result<ExportFacts> facts() const;
    // START begins the option that asks about the export.
    template <class Start>
    Result<ExportFacts> ask_export(const std::string& export_name, Start start, const char* what);
    // Gives the connection up when the option is not DONE in time.
    Result<void> wait_for_option(const bool& done, const char* what);
    std::unexpected<Error> lost(const char* what) const;
    std::string difference_context() const;
    Result<void> start_status(const std::string& context, std::uint64_t offset,
                              std::uint64_t length, RunsDone done);

    NbdUri uri_;
    PeerSettings settings_;
    std::unique_ptr<nbd_handle, CloseHandle> handle_;
};

}  // namespace signpost
