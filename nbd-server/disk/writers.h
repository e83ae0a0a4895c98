// SPDX-License-Identifier: BSD-3-Clause
//
// Writers sees to it that a disk has one writer: one client, known by its identity, with any number
// of sessions. The first write of a session asks for it; reading is never refused, nor is opening.
//
// Within this server the first client keeps the disk until it has left. A client that leaves with a
// word (DISC) makes room at once, one whose connection was cut after kWriterLease, so that it may
// come back. What another client writes meanwhile waits for a moment (a machine that migrates
// writes from its new host before the old one has left), and is then refused.
//
// Between servers it is the lease in the catalog: who serves an image that is written holds it, and
// renews it. Where the catalog has another writable copy of the disk, somebody else may take the
// lease once it has lapsed; so the holder stops when by its own clock it could not renew it in time
// (requests are held, then EIO), and for good when it finds that another has it (ESTALE). Who takes
// over from a server that has not given the lease back waits until that one must have stopped: not
// even a jump of the catalog's clock makes two writers. The other server's copy is then stale. With
// no other writable copy the holder goes on without the catalog.
//
// Lifetime: catalog, workers and log outlive it; it outlives the disks that it guards. Threads:
// any; it has one of its own, which asks the catalog.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "catalog/catalog.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/worker_pool.h"
#include "nbd-server/disk/write_permit.h"

namespace signpost {

struct WriterEvent {
    std::string_view what;  // taken, left, refused, lost
    std::string_view disk;
    std::string_view server;  // whose image
    std::string_view who;
    std::string_view why;
};

struct WriterSettings {
    std::chrono::milliseconds renew{4000};
    std::chrono::milliseconds again{300};       // after the catalog has refused, or failed
    std::chrono::milliseconds good_for{10000};  // since the last renewal began; below kWriterLease
    std::chrono::milliseconds margin{1000};     // for who takes over
    std::chrono::milliseconds patience{2000};   // until another client is refused
    std::chrono::milliseconds request{12000};   // so long one is held in all
    std::chrono::milliseconds come_back = kWriterLease;

    std::function<BootTime()> clock = {};  // empty: CLOCK_BOOTTIME
    bool own_thread = true;                // false: a test calls look()

    // Told of each decision; must not block. Empty: nobody wants to know.
    std::function<void(const WriterEvent&)> told = {};
};

class WriterGate;

class Writers {
   public:
    struct Target {
        DiskName disk;
        // Whose image is written. Empty: that of another Signpost server, which holds the lease.
        std::string server;
    };

    struct Parts {
        Catalog& catalog;
        WorkerPool& workers;
        Log& log;
        std::string own_server;
    };

    Writers(Parts parts, WriterSettings settings);
    Writers(const Writers&) = delete;
    Writers& operator=(const Writers&) = delete;
    ~Writers();

    // DISK, which is writable, for one session of the client WHO.
    std::shared_ptr<Disk> guard(std::shared_ptr<Disk> disk, Target target, std::string who);

    // Whether a client of this server writes to the disk, or may come back to do so.
    bool writing(const DiskName& disk) const;

    // Does what is due, and says when there will be more.
    BootTime look();

   private:
    friend class WriterGate;

    struct Held {
        WriterGate* gate;
        Request* request;
        BootTime since;
    };

    // Another server's lease as it was last seen: unchanged since.
    struct Rival {
        WriterLease lease;
        BootTime since;
    };

    struct Seat {
        Target target;
        std::string holder = {};  // empty: nobody
        unsigned sessions = 0;    // of the holder, that write
        bool left = false;        // the last one said that it leaves
        BootTime left_at{};
        std::shared_ptr<Disk> kept = {};  // until the holder has come back, or not
        std::shared_ptr<WritePermit> permit = {};
        std::optional<WriterLease> lease = {};
        std::optional<Rival> rival = {};
        std::optional<WriterLease> replaced = {};  // whose copy is still to be marked as stale
        BootTime next{};                           // to ask the catalog
        std::deque<Held> held = {};
    };
    using Seats = std::map<DiskName, Seat>;

    // What the catalog says to a client that wants to write.
    struct Answer {
        int error = 0;  // 0, EIO: ask again, EBUSY: another has it, ESTALE: never
        std::string reason = {};
        std::optional<WriterLease> lease = {};  // none: none is needed
        std::optional<WriterLease> before = {};
        bool contested = false;  // another could take it
    };

    // --- from sessions
    void ask(WriterGate& gate, Request& request);
    void left(WriterGate& gate);

    // --- at the own thread: writers.cc
    void run();
    void look_at(const DiskName& disk);
    void settle(Seat& seat, BootTime now);
    bool settle_one(Seat& seat, const Held& held, BootTime now);
    void vacate(std::unique_lock<std::mutex>& lock, Seat& seat, BootTime now);
    void seek_permit(std::unique_lock<std::mutex>& lock, Seat& seat);
    void apply(Seat& seat, Answer answer, BootTime began);
    void refuse_held(Seat& seat, const Answer& answer, BootTime now);
    void lose(Seat& seat, const std::string& reason);
    void forget(Seat& seat);
    BootTime next_look(BootTime now) const;
    void attach(Seat& seat, WriterGate& gate);
    bool has_held_of_holder(const Seat& seat) const;
    void let(WriterGate& gate, Request& request);
    void fail(WriterGate& gate, Request& request, int error);
    void tell(const Seat& seat, std::string_view what, std::string_view who,
              std::string_view why = {}) const;

    // --- with the catalog: writer_leases.cc
    struct Question {
        Target target;
        std::string who;
        std::optional<WriterLease> replaced;
    };
    Answer ask_catalog(const Question& question);
    Answer ask_for_lease(const Question& question, const DiskRecord& record);
    Result<void> supersede(const Target& target, const DiskRecord& record,
                           const WriterLease& before);
    std::string writer_text(const Target& target, const std::string& who) const;

    BootTime now() const;

    const Parts parts_;
    const WriterSettings settings_;
    mutable std::mutex mutex_;  // of all below; never held while the catalog or a disk is asked
    std::condition_variable changed_;
    Seats seats_;
    bool news_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace signpost
