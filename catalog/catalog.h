// SPDX-License-Identifier: BSD-3-Clause
//
// Catalog is the network database: which servers there are, which disks, and who holds them.
//
// Lifetime: the owner (main, or the plugin) keeps it alive until every user is gone.
// Threads: every call may come from any thread; none is made with a lock held.
// Time: every call is bounded. A look-up waits at most kLookupWait for a busy or hung store, a
// change at most kChangeWait; then Errc::unavailable. (A large publication is work, not waiting.)
// Errors: unavailable (ask again later), corrupt, too_new, full, denied (a read-only store), io. A
// row that breaks the rules of records.h is skipped, never returned, and counted in skipped_rows().
// Changes are atomic: a call that fails has changed nothing.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/records.h"

namespace signpost {

inline constexpr std::chrono::milliseconds kLookupWait{500};
inline constexpr std::chrono::milliseconds kChangeWait{5000};

inline constexpr std::chrono::seconds kWriterLease{15};
inline constexpr std::chrono::hours kJobMemory{7 * 24};  // of finished ones
inline constexpr std::size_t kMaxJobs = 10'000;
inline constexpr std::size_t kMaxSiteCosts = 10'000;
inline constexpr std::size_t kMaxBootProfile = 64 * 1024;  // bytes
inline constexpr std::size_t kMaxBootProfiles = 10'000;

struct PublishSummary {
    std::uint64_t added = 0;
    std::uint64_t changed = 0;  // content or attributes differ: a new generation
    std::uint64_t removed = 0;

    bool operator==(const PublishSummary&) const = default;
};

// One atomic change of what a server holds.
struct Publication {
    std::vector<Image> images = {};       // added or updated
    std::vector<DiskName> vanished = {};  // withdrawn
    bool complete = false;                // images are all that it holds: withdraw any other,
                                          // but for these, which are being written just now
    std::vector<DiskName> unsettled = {};
};

struct DigestRecord {
    DiskName disk;
    std::string server;
    std::uint64_t generation;  // the location's generation when the reading began
    std::string digest;
};

// Records as they were, to be put back: generations, digests, states, times and heartbeats
// included.
struct Restoration {
    std::vector<Server> servers = {};
    // Each replaces what there is of that disk. A location of a server that is neither registered
    // nor in SERVERS is left out.
    std::vector<DiskRecord> disks = {};
    std::vector<DiskName> vanished = {};
    std::vector<WriterLease> writers = {};  // each replaces the last one of its disk
    // Servers and disks are all there are: any others go.
    bool complete = false;
    // Not empty: only this server's locations are put, replaced or (vanished, complete) removed.
    std::string only_of = {};
    // No generation that is given out later is one of those restored, or up to this one.
    std::uint64_t generation_floor = 0;
};

class Catalog {
   public:
    Catalog() = default;
    Catalog(const Catalog&) = delete;
    Catalog& operator=(const Catalog&) = delete;
    virtual ~Catalog() = default;

    // The disk with all its locations; empty when no location has that name.
    virtual Result<std::optional<DiskRecord>> find(const DiskName& name) = 0;

    // At most LIMIT disks (1 to 10,000) whose names begin with PREFIX and sort after AFTER (both
    // may be empty), in byte order. Fewer than LIMIT: that was the last page.
    virtual Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                                 std::size_t limit) = 0;

    // As list, for names that contain TEXT (ASCII letters in any case).
    virtual Result<std::vector<DiskRecord>> search(std::string_view text, std::string_view after,
                                                   std::size_t limit) = 0;

    // Changes what SERVER (which must be registered: not_found) holds.
    virtual Result<PublishSummary> publish(std::string_view server, const Publication& change) = 0;

    // Says that the content of SERVER's copy is about to change: a new generation, digest unknown.
    virtual Result<void> mark_changed(const DiskName& disk, std::string_view server) = 0;

    // Stores a digest if the location still has that generation (else conflict: it changed while it
    // was read). Locations of the disk with equal digest and size get one common generation, the
    // newest of theirs. The content counts as verified now. A damaged location whose digest is
    // found right again is ready; with another digest it is still damaged (conflict).
    virtual Result<void> record_digest(const DigestRecord& record) = 0;

    // What is known of the content of SERVER's copy, if it still has that generation (else
    // conflict). The digest stays.
    virtual Result<void> set_location_state(const DiskName& disk, std::string_view server,
                                            std::uint64_t generation, LocationState state) = 0;

    // Adds a server, or updates the one of that name: URIs, site, kind, priority, class, instance;
    // whether it drains stays. Fails with conflict when the name belongs to another running
    // process: other instance, other first URI, and a heartbeat younger than kServerLease. A server
    // with an instance counts as alive from now on; one without (an operator's change) keeps the
    // instance that is registered.
    virtual Result<void> put_server(const Server& server) = 0;

    // Whether the server takes new clients; not_found.
    virtual Result<void> set_draining(std::string_view server, bool draining) = 0;

    // Removes a server, all its locations, and the jobs of which it is the target; not_found.
    virtual Result<void> remove_server(std::string_view name) = 0;

    virtual Result<std::vector<Server>> servers() = 0;  // ordered by name
    virtual Result<std::optional<Server>> find_server(std::string_view name) = 0;

    // Seconds since 1970 by the store's clock, which heartbeats and leases are judged by.
    virtual Result<std::int64_t> now() = 0;

    // Says that the server is alive, and has so many clients; conflict when INSTANCE is not the
    // registered one any more.
    virtual Result<void> heartbeat(std::string_view name, std::string_view instance,
                                   std::uint32_t sessions = 0) = 0;

    // Each pair of sites once, ordered. A cost below 0 forgets the pair.
    virtual Result<std::vector<SiteCost>> site_costs() = 0;
    virtual Result<void> put_site_cost(const SiteCost& cost) = 0;

    // A new job (waiting), or of one that is there that it is to be cancelled, and nothing else.
    // conflict: it is finished already; or it is new and another for that disk and target is not.
    virtual Result<void> put_job(const Job& job) = 0;

    // Ordered by when they were made; of TARGET (empty: of all). Finished ones are forgotten
    // kJobMemory after they ended.
    virtual Result<std::vector<Job>> jobs(std::string_view target) = 0;

    // By those who work on it: state, size, done, message. not_found; conflict when the job is
    // finished: the first word stands. Not a change to change_sequence() until it is finished.
    virtual Result<void> report_job(const Job& job) = 0;

    // The right to write DISK's image at SERVER for kWriterLease from now on, or for that long
    // again. conflict: another (server, writer) has it, and it has not lapsed. Each new holder gets
    // a larger fence. Leases are no changes to change_sequence().
    virtual Result<WriterLease> take_writer(const DiskName& disk, std::string_view server,
                                            std::string_view writer) = 0;
    // Nothing happens when another has taken it meanwhile.
    virtual Result<void> release_writer(const WriterLease& lease) = 0;
    // The holder; empty when there is none, or its lease has lapsed.
    virtual Result<std::optional<WriterLease>> writer(const DiskName& disk) = 0;
    // The last holder, whether its lease has lapsed or was given back (then `expires` is 0).
    virtual Result<std::optional<WriterLease>> last_writer(const DiskName& disk) = 0;

    // What a machine reads of DISK when it starts, as a server has seen it: a text of its own
    // making, and a hint to others. Empty: nobody has said so. No change to change_sequence().
    // Beyond kMaxBootProfiles the oldest are forgotten. invalid: it is longer than kMaxBootProfile,
    // or has other characters than printable ASCII.
    virtual Result<std::optional<std::string>> boot_profile(const DiskName& disk) = 0;
    virtual Result<void> put_boot_profile(const DiskName& disk, std::string_view profile) = 0;

    // Puts records back, over what is there. invalid when one breaks a rule or is there twice;
    // not_found when ONLY_OF is not registered.
    virtual Result<void> restore(const Restoration& records) = 0;

    // The newest generation that was given out; 0: none yet.
    virtual Result<std::uint64_t> newest_generation() = 0;

    // An import of many pieces: until it ends the catalog is not opened but with OpenMode::import,
    // and no other change is made. BEGIN removes what an import that did not end has left; conflict
    // when the catalog has records otherwise.
    virtual Result<void> begin_import() = 0;
    virtual Result<void> end_import() = 0;

    // Grows with every change of servers (not heartbeats), locations, site costs and the list of
    // jobs.
    virtual Result<std::uint64_t> change_sequence() = 0;

    // Waits until change_sequence() is another than SINCE, at most until DEADLINE; gives what it is
    // then. Sees a change within a second, or sooner where the store tells of it.
    Result<std::uint64_t> wait_for_change(std::uint64_t since,
                                          std::chrono::steady_clock::time_point deadline);

    // Where the store tells of changes: TOLD is called soon after one by whomever, until the handle
    // goes (change_hints.h has what that asks of TOLD and its owner). A hint, which may be missing
    // or idle.
    virtual std::shared_ptr<void> when_changed(std::function<void()> told);

    // How often whoever waits for a change may ask for change_sequence().
    virtual std::chrono::milliseconds look_interval() const {
        return std::chrono::milliseconds(200);
    }

    // Disks and locations in all, for status.
    struct Totals {
        std::uint64_t disks = 0;
        std::uint64_t locations = 0;
    };
    virtual Result<Totals> totals() = 0;

    // Looks at all that is stored, which may take minutes: corrupt when it contradicts itself.
    virtual Result<void> check_integrity() { return {}; }

    // Gives a store's roles their rights, where it has roles: a line for each that did not get its.
    virtual Result<std::vector<std::string>> grant_rights() { return std::vector<std::string>(); }

    // Rows skipped so far because they break the rules.
    virtual std::uint64_t skipped_rows() const = 0;

    // The version of the tables, for status; 0: the store has none.
    virtual int schema_version() const { return 0; }

    // What the operator calls it: the URL without secrets.
    virtual std::string description() const = 0;
};

inline constexpr std::chrono::seconds kHeartbeatInterval{5};
inline constexpr std::chrono::seconds kServerLease{15};

enum class OpenMode {
    create,     // make the catalog if it is missing (never over something that is there)
    existing,   // fail with not_found when it is missing
    read_only,  // as existing, and refuse every change
    import,     // as create; the only one that opens what an import has left half done
};

// Whom calls keep waiting when the catalog is a database server that is slow: a server's clients,
// who get an answer from elsewhere then, or a person with a command.
enum class CatalogUser { server, person };

// URL: `sqlite:PATH` or a bare path; `postgresql://` or `postgres://` as libpq takes it, several
// hosts included. Fails with invalid, not_found, corrupt (and the remedy), too_new, denied, io,
// unavailable.
Result<std::unique_ptr<Catalog>> open_catalog(std::string_view url, OpenMode mode,
                                              CatalogUser user = CatalogUser::server);

// What the catalog at URL has to do with in the file system, for a process that shuts itself in:
// the file's directory, or what libpq reads (certificates, passwords, services).
struct CatalogFiles {
    std::vector<std::string> writable = {};
    std::vector<std::string> readable = {};
};
CatalogFiles catalog_files(std::string_view url);

// Where this machine's servers keep what is theirs: $STATE_DIRECTORY, else /var/lib/signpost for
// root, else $XDG_STATE_HOME (or ~/.local/state)/signpost.
std::string default_state_directory();

// The URL used when none is given: catalog.db there.
std::string default_catalog_url();

// What the operator calls the catalog at URL: without secrets; nothing is opened.
std::string describe_catalog_url(std::string_view url);

}  // namespace signpost
