// SPDX-License-Identifier: BSD-3-Clause
//
// A pass goes over the published images and does for each what is still to do: read the rest of it,
// tell the catalog, read it again. A new pass begins when something was published, and now and then
// for what has become due or could not be done.

#include "nbd-server/disk/digester.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLook{500};   // at the publisher's count
constexpr seconds kRetry{60};        // what could not be done
constexpr seconds kPassEvery{3600};  // with nothing published
constexpr std::int64_t kForgetAfter = std::int64_t{30} * 24 * 3600;

// For the storage everybody else goes first. Where that is forbidden, the rate has to do. Not for
// the processor: a thread that never runs while the machine is busy would keep locks for ever.
void take_idle_io_priority() {
    constexpr int kWhoProcess = 1;
    constexpr int kIdleClass = 3 << 13;
    ::syscall(SYS_ioprio_set, kWhoProcess, 0, kIdleClass);
}

class LiveDigester final : public Digester {
   public:
    LiveDigester(DigesterParts parts, DigestSettings settings, Log& log)
        : parts_(std::move(parts)), settings_(settings), log_(log), thread_([this] { run(); }) {}

    ~LiveDigester() override {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

   private:
    // What became of one look at one image.
    enum class Step { settled, later, stopped };

    void run() {
        take_idle_io_priority();
        std::uint64_t seen = 0;
        Clock::time_point next{};
        while (pause_until(Clock::now() + kLook)) {
            const std::uint64_t published = parts_.publisher.publications();
            if (published == 0 || (published == seen && Clock::now() < next)) {
                continue;
            }
            seen = published;
            next = Clock::now() + (pass() ? kPassEvery : kRetry);
        }
    }

    // False when it is time to stop.
    bool pause_until(Clock::time_point when) {
        std::unique_lock lock(mutex_);
        changed_.wait_until(lock, when, [this] { return stopping_; });
        return !stopping_;
    }

    bool stopping() {
        const std::lock_guard lock(mutex_);
        return stopping_;
    }

    // True when nothing is left to do.
    bool pass() {
        bool all = true;
        std::map<DiskName, std::string> settled;
        for (const Image& image : parts_.publisher.images()) {
            if (image.read_only) {
                const Step step = look_at(image);
                if (step == Step::stopped) {
                    return false;
                }
                if (step == Step::settled) {
                    settled.emplace(image.name, image.fingerprint);
                }
                all = all && step == Step::settled;
            }
        }
        settled_ = std::move(settled);
        if (all) {
            static_cast<void>(parts_.store.forget(std::time(nullptr) - kForgetAfter));
        }
        return all;
    }

    Step look_at(const Image& image) {
        const auto known = settled_.find(image.name);
        const bool settled = known != settled_.end() && known->second == image.fingerprint;
        if (settled && settings_.scrub.count() == 0) {
            return Step::settled;
        }
        auto entry = parts_.store.begin({image.name, image.fingerprint, image.size});
        if (!entry) {
            return complain(image, entry.error());
        }
        if (entry->digest.empty()) {
            return digest(image, *entry);
        }
        if (is_due(*entry)) {
            return scrub(image, *entry);
        }
        return settled ? Step::settled : tell(image, entry->digest);
    }

    bool is_due(const DigestStore::Entry& entry) const {
        const std::int64_t age = std::time(nullptr) - entry.read;
        return settings_.scrub.count() > 0 && (age >= settings_.scrub.count() || age < 0);
    }

    // --- the first reading

    Step digest(const Image& image, const DigestStore::Entry& entry) {
        auto tree = DigestTree::start(image.size);
        auto reading = ImageReading::open(parts_.repositories, parts_.serve, image);
        if (!tree || !reading) {
            return complain(image, tree ? reading.error() : tree.error());
        }
        std::uint64_t next = 0;
        if (auto taken = take_up(entry, *tree); taken) {
            next = *taken;
        } else {
            return complain(image, taken.error());
        }
        if (next > 0) {
            log_.info(
                fmt::format("disk '{}': {} chunks of it were hashed before; the digest goes "
                            "on from there",
                            escaped(image.name.str()), next));
        }
        DigestTree::Leaves run;
        for (const std::uint64_t chunks = chunk_count(image.size); next < chunks;) {
            if (auto added = add(**reading, next, *tree); !added) {
                return complain(image, added.error());
            }
            run.push_back(tree->last());
            ++next;
            const bool whole = run.size() == DigestStore::kRun || next == chunks;
            if (whole) {
                const auto kept = parts_.store.add(entry.id, next - run.size(), run);
                if (!kept) {
                    return complain(image, kept.error());
                }
                run.clear();
            }
            if (!keep_pace()) {
                return Step::stopped;
            }
        }
        return conclude(image, entry, **reading, *tree);
    }

    // The chunks that were hashed before a restart; as many as are whole runs.
    Result<std::uint64_t> take_up(const DigestStore::Entry& entry, DigestTree& tree) {
        const std::uint64_t done = entry.done - entry.done % DigestStore::kRun;
        std::uint64_t next = 0;
        while (next < done) {
            const auto leaves = parts_.store.leaves(entry.id, next);
            if (!leaves || leaves->size() != DigestStore::kRun) {
                return next;  // from here on it is read
            }
            for (const auto& leaf : *leaves) {
                if (auto added = tree.add_digest(leaf); !added) {
                    return std::unexpected(added.error());
                }
            }
            next += leaves->size();
        }
        return next;
    }

    Result<void> add(ImageReading& reading, std::uint64_t chunk, DigestTree& tree) {
        if (reading.is_hole(chunk)) {
            return tree.add_zero_chunk();
        }
        const auto bytes = reading.read(chunk);
        if (!bytes) {
            return std::unexpected(bytes.error());
        }
        spent_ += bytes->size();
        return tree.add(*bytes);
    }

    Step conclude(const Image& image, const DigestStore::Entry& entry, const ImageReading& reading,
                  DigestTree& tree) {
        const auto root = tree.finish();
        if (!root) {
            return complain(image, root.error());
        }
        if (!reading.is_current()) {
            return Step::later;
        }
        if (auto kept = parts_.store.finish(entry.id, *root); !kept) {
            return complain(image, kept.error());
        }
        log_.debug(fmt::format("disk '{}': digest {}", escaped(image.name.str()), *root));
        return tell(image, *root);
    }

    // --- what the catalog has

    // The row of this server for that state of the image; nothing when it has another, or none yet.
    Result<std::optional<Location>> row_of(const Image& image) {
        auto record = parts_.catalog.find(image.name);
        if (!record) {
            return std::unexpected(record.error());
        }
        if (*record && (*record)->as_of != 0) {
            return fail(Errc::unavailable, "the catalog does not answer");
        }
        if (*record) {
            for (Location& location : (*record)->locations) {
                if (location.server == parts_.server && location.size == image.size &&
                    location.fingerprint == image.fingerprint) {
                    return std::move(location);
                }
            }
        }
        return std::nullopt;
    }

    // READ: the image has just been read, and so proven right.
    Step tell(const Image& image, const std::string& digest, bool read = false) {
        const auto row = row_of(image);
        if (!row) {
            return complain(image, row.error());
        }
        if (!*row) {
            return Step::later;
        }
        const Location& location = **row;
        if (location.digest == digest && !read) {
            return Step::settled;
        }
        if (!location.digest.empty() && location.digest != digest) {
            return damaged(image, location,
                           fmt::format("its content has digest {}, and had {} when it was verified",
                                       digest, location.digest));
        }
        const auto recorded =
            parts_.catalog.record_digest({image.name, parts_.server, location.generation, digest});
        if (!recorded && recorded.error().code == Errc::conflict) {
            return Step::later;
        }
        return recorded ? Step::settled : complain(image, recorded.error());
    }

    Step damaged(const Image& image, const Location& location, const std::string& what) {
        if (location.state == LocationState::damaged) {
            return Step::settled;
        }
        log_.error(fmt::format(
            "disk '{}' is damaged on this server: {}; it is not chosen any more. Put a good copy "
            "in its place, and run: signpost verify {}",
            escaped(image.name.str()), what, escaped(image.name.str())));
        const auto marked = parts_.catalog.set_location_state(
            image.name, parts_.server, location.generation, LocationState::damaged);
        if (!marked && marked.error().code != Errc::conflict) {
            return complain(image, marked.error());
        }
        return Step::settled;
    }

    // --- reading again

    Step scrub(const Image& image, const DigestStore::Entry& entry) {
        auto reading = ImageReading::open(parts_.repositories, parts_.serve, image);
        if (!reading) {
            return complain(image, reading.error());
        }
        std::uint64_t bad = 0;
        const std::uint64_t chunks = chunk_count(image.size);
        for (std::uint64_t first = entry.read_again; first < chunks;) {
            const auto leaves = parts_.store.leaves(entry.id, first);
            if (!leaves) {
                return complain(image, leaves.error());
            }
            for (const auto& leaf : *leaves) {
                const auto good = is_good(**reading, first, leaf);
                if (!good) {
                    return complain(image, good.error());
                }
                if (!*good && (*reading)->is_current()) {
                    ++bad;
                    tell_damage(image, first);
                }
                ++first;
                if (!keep_pace()) {
                    return Step::stopped;
                }
            }
            static_cast<void>(parts_.store.note_reading(entry.id, first, entry.read));
        }
        if (!(*reading)->is_current()) {
            return Step::later;
        }
        static_cast<void>(parts_.store.note_reading(entry.id, 0, std::time(nullptr)));
        // Only a reading without a break proves all of it.
        return bad > 0 ? Step::settled : tell(image, entry.digest, entry.read_again == 0);
    }

    Result<bool> is_good(ImageReading& reading, std::uint64_t chunk,
                         const DigestTree::ChunkDigest& leaf) {
        if (reading.is_hole(chunk)) {
            const auto digest = digest_of_zeroes(chunk_bytes(reading.size(), chunk));
            return digest ? Result<bool>(*digest == leaf) : std::unexpected(digest.error());
        }
        for (const bool fresh : {false, true}) {
            const auto bytes = reading.read(chunk, fresh);
            if (!bytes) {
                return std::unexpected(bytes.error());
            }
            spent_ += bytes->size();
            const auto digest = digest_of_chunk(*bytes);
            if (!digest || *digest == leaf) {
                return digest ? Result<bool>(true) : std::unexpected(digest.error());
            }
        }
        return false;
    }

    void tell_damage(const Image& image, std::uint64_t chunk) {
        const std::uint64_t offset = chunk * DigestTree::kChunkBytes;
        const auto row = row_of(image);
        if (row && *row) {
            static_cast<void>(damaged(image, **row,
                                      fmt::format("bytes {} to {} are not what they were", offset,
                                                  offset + chunk_bytes(image.size, chunk))));
        }
    }

    // --- rate and complaints

    // Waits until what was read is paid for. False when it is time to stop.
    bool keep_pace() {
        const auto now = Clock::now();
        const double share = static_cast<double>(spent_) / static_cast<double>(settings_.rate);
        spent_ = 0;
        free_at_ =
            std::max(free_at_, now - seconds(1)) +
            std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(share));
        return free_at_ <= now ? !stopping() : pause_until(free_at_);
    }

    // One line for each trouble, however often it is tried. Of an image that has changed a
    // publication tells, and of a catalog that is away the publisher.
    Step complain(const Image& image, const Error& error) {
        if (error.code == Errc::conflict || error.code == Errc::not_found ||
            error.code == Errc::unavailable) {
            return Step::later;
        }
        auto& last = complaints_[image.name];
        if (last != error.message) {
            last = error.message;
            log_.error(fmt::format("disk '{}' has no digest for now: {}; it is tried again",
                                   escaped(image.name.str()), error.message));
        }
        return Step::later;
    }

    const DigesterParts parts_;
    const DigestSettings settings_;
    Log& log_;

    // The thread's own.
    std::map<DiskName, std::string> settled_;  // and the fingerprint
    std::map<DiskName, std::string> complaints_;
    std::uint64_t spent_ = 0;
    Clock::time_point free_at_{};

    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;  // guarded by mutex_

    std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Digester> start_digester(DigesterParts parts, DigestSettings settings, Log& log) {
    return std::make_unique<LiveDigester>(std::move(parts), settings, log);
}

}  // namespace signpost
