// SPDX-License-Identifier: BSD-3-Clause
//
// CaptiveServer is a signpostd of this command's own: a gateway to all disks of the catalog, on a
// Unix socket that only this user can reach, with no name in the catalog. So any program can be
// given a disk with no server on this machine, and with TLS, tickets and failover behind a plain
// local socket.
//
// CaptiveDisk is one disk of it, or, while the catalog is away, of the server that this machine's
// stubs lead to.
//
// WritableOverlay lets a disk be written to, as the program sees it: what it writes goes into a
// file that goes with the object. qemu-nbd serves both together.
//
// Lifetime: the scratch directory outlives them; the server outlives overlays of its disks.
// Threads: main's.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "catalog/disk_name.h"
#include "catalog/nbd_uri.h"
#include "cli/child_process.h"
#include "cli/scratch_directory.h"
#include "cli/verbs.h"

namespace signpost {

class CaptiveServer {
   public:
    static Outcome<CaptiveServer> start(const Context& context, const ScratchDirectory& scratch);

    NbdUri uri(const DiskName& disk) const;

    // What it said last; empty: nothing.
    std::string last_words() const { return last_line(log_); }

   private:
    CaptiveServer(ChildProcess process, std::string socket, std::string log)
        : process_(std::move(process)), socket_(std::move(socket)), log_(std::move(log)) {}

    ChildProcess process_;
    std::string socket_;
    std::string log_;
};

struct SeenDisk {
    std::uint64_t size;
    bool efi;  // it wants to be booted so
};

// What the server says of a disk, when it has shown that it can be read.
Result<SeenDisk> look_at_disk(const NbdUri& uri, const PeerTls& tls);

struct CaptiveDisk {
    DiskName name;  // of a restore point, where that was meant
    NbdUri uri;
    std::uint64_t size;
    bool efi;
    std::optional<CaptiveServer> server;

    // The disk that NAME means. It has been asked for, so that a failure is told before anything is
    // started that needs it.
    static Outcome<CaptiveDisk> open(const Context& context, const ScratchDirectory& scratch,
                                     const DiskName& name);
};

class WritableOverlay {
   public:
    static Outcome<WritableOverlay> start(const ScratchDirectory& scratch,
                                          const CaptiveDisk& below);

    NbdUri uri() const { return uri_; }

   private:
    WritableOverlay(ChildProcess process, NbdUri uri)
        : process_(std::move(process)), uri_(std::move(uri)) {}

    ChildProcess process_;
    NbdUri uri_;
};

// "driver=nbd,…" as QEMU's options name a disk, each key behind PREFIX. Without TLS.
std::string qemu_options_of(const NbdUri& disk, const std::string& prefix);

// Waits until the server that PROCESS is answers at SOCKET. LABEL: for messages; LOG: what it says.
Outcome<void> wait_serving(ChildProcess& process, const std::string& socket,
                           const std::string& label, const std::string& log);

}  // namespace signpost
