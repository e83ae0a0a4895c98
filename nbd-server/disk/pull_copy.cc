// SPDX-License-Identifier: BSD-3-Clause
//
// The target's side of a copy. What is here already is looked at first: an image with the content
// that is wished is all that was asked for, however it came here; so a crash behind any step below
// only costs a second look.

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

#include "nbd-server/disk/copy_work.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/part_file.h"

namespace signpost {

namespace {

constexpr std::uint64_t kLargestCopy = std::uint64_t{1} << 46;  // 64 TiB

// What a relay says of the copy that it reads; written on the relay's loop.
class PinWatch {
   public:
    void set(const Location& copy, const std::string& fingerprint) {
        const std::lock_guard lock(mutex_);
        server_ = copy.server;
        fingerprint_ = fingerprint;
    }
    bool is(const Location& copy) const {
        const std::lock_guard lock(mutex_);
        return server_ == copy.server && !fingerprint_.empty() && fingerprint_ == copy.fingerprint;
    }

   private:
    mutable std::mutex mutex_;
    std::string server_;
    std::string fingerprint_;
};

Result<void> reach(Disk& disk) {
    const auto told = std::make_shared<std::promise<Result<void>>>();
    disk.reach([told](const Result<void>& answer) { told->set_value(answer); });
    auto answer = told->get_future().get();
    if (!answer) {
        return fail(Errc::unavailable, answer.error().message);
    }
    return answer;
}

// Every trouble with the catalog may pass.
template <class T>
std::unexpected<Error> later(const Result<T>& failed) {
    return fail(Errc::unavailable, failed.error().message);
}

class Pull {
   public:
    Pull(const CopierParts& parts, const Job& job, unsigned attempt, const TellProgress& tell)
        : parts_(parts),
          job_(job),
          attempt_(attempt),
          tell_(tell),
          planner_(parts.catalog, parts.server, parts.site) {}

    Result<PulledCopy> run() {
        if (auto good = check(); !good) {
            return std::unexpected(good.error());
        }
        auto image = parts_.repositories.open_image(job_.disk);
        if (image) {
            auto ended = with_own(std::move(*image));
            if (!ended || *ended) {
                return ended ? Result<PulledCopy>(**ended) : std::unexpected(ended.error());
            }
        } else if (image.error().code != Errc::not_found) {
            return fail(Errc::conflict, fmt::format("there is an image of it here already: {}",
                                                    image.error().message));
        }
        auto source = choose_source(parts_.catalog, planner_, job_.disk, job_.source, attempt_);
        if (!source) {
            return std::unexpected(source.error());
        }
        return copy(std::move(*source));
    }

   private:
    const Repository& repository() const { return parts_.repositories.repositories().front(); }

    // ---- what the job asks for

    Result<void> check() {
        const std::string& name = job_.disk.str();
        path_ = name + ".raw";
        if (!parts_.accepts || parts_.repositories.empty()) {
            return fail(Errc::denied,
                        fmt::format("server {} takes no copies: {}", parts_.server,
                                    parts_.accepts ? "it has no repository"
                                                   : "its configuration says copies=off"));
        }
        if (!is_job_id(job_.id) || job_.source == parts_.server) {
            return fail(Errc::invalid, "the job makes no sense: put it again");
        }
        const auto back = parts_.repositories.name_of({.repository = 0, .path = path_});
        if (!back || !*back || **back != job_.disk || has_ignored_component(name)) {
            return fail(Errc::invalid,
                        fmt::format("{}: no repository can hold that name", disk_text(job_.disk)));
        }
        return {};
    }

    // ---- what is here already

    // Empty: it has to be copied, over a damaged image perhaps.
    Result<std::optional<PulledCopy>> with_own(OpenImage image) {
        const auto record = record_now(parts_.catalog, job_.disk);
        if (!record) {
            return later(record);
        }
        const Location* own = *record ? copy_on(**record, parts_.server) : nullptr;
        const bool known = own != nullptr && own->fingerprint == image.fingerprint;
        if (known && own->state == LocationState::ready && !own->digest.empty()) {
            if (auto ended = same_elsewhere(**record, *own)) {
                return ended;
            }
        }
        const auto source =
            choose_source(parts_.catalog, planner_, job_.disk, job_.source, attempt_);
        if (!source) {
            return std::unexpected(source.error());
        }
        const bool damaged = known && own->state == LocationState::damaged;
        return compare(std::move(image), source->reference, damaged);
    }

    // Nothing is left to be done here when the catalog says that our copy is as good.
    std::optional<PulledCopy> same_elsewhere(const DiskRecord& record, const Location& own) const {
        if (job_.kind == JobKind::move && copy_on(record, job_.source) == nullptr) {
            return ended(own.size);
        }
        for (const Location& other : record.locations) {
            const bool asked = job_.source.empty() || other.server == job_.source;
            if (asked && other.server != own.server && other.digest == own.digest &&
                other.size == own.size) {
                return ended(own.size);
            }
        }
        return std::nullopt;
    }

    PulledCopy ended(std::uint64_t size) const {
        if (job_.kind == JobKind::copy) {
            return {.end = CopyEnd::done, .size = size, .message = "copied"};
        }
        const auto record = record_now(parts_.catalog, job_.disk);
        const bool left = record && *record && copy_on(**record, job_.source) == nullptr;
        return left ? PulledCopy{.end = CopyEnd::done, .size = size, .message = "moved"}
                    : PulledCopy{.end = CopyEnd::other_side,
                                 .size = size,
                                 .message = fmt::format("copied; {} has to give its image up",
                                                        job_.source)};
    }

    Result<std::optional<PulledCopy>> compare(OpenImage image, const Location& reference,
                                              bool damaged) {
        const ImageFile& file = image.chain.front();
        const std::string shown =
            display_path(parts_.repositories.repositories()[file.repository], file.path);
        const bool in_place = file.repository == 0 && image.format() == ImageFormat::raw;
        const std::string path = file.path;
        if (image.size == reference.size && !reference.digest.empty()) {
            const auto own = own_digest(std::move(image));
            if (!own) {
                return std::unexpected(own.error());
            }
            if (own->digest == reference.digest) {
                const auto leaf = [&own](std::uint64_t i) { return std::optional(own->leaves[i]); };
                if (auto published = publish(own->digest, leaf); !published) {
                    return std::unexpected(published.error());
                }
                return ended(reference.size);
            }
        }
        if (!damaged || reference.digest.empty()) {
            return fail(Errc::conflict,
                        fmt::format("there is another image of it here already: {}", shown));
        }
        if (!in_place) {
            return fail(Errc::conflict, fmt::format("its damaged image {} cannot be replaced in "
                                                    "place; move it away by hand",
                                                    shown));
        }
        replace_ = true;
        path_ = path;
        return std::nullopt;
    }

    Result<ContentDigest> own_digest(OpenImage image) {
        fingerprint_ = image.fingerprint;
        size_ = image.size;
        auto disk = parts_.serve(std::move(image));
        if (!disk) {
            return std::unexpected(disk.error());
        }
        return digest_of(**disk, true, 0, [this](std::uint64_t done) {
            return say(done, "reading the image that is here already");
        });
    }

    // ---- the copy

    Result<PulledCopy> copy(CopySource source) {
        const Location reference = source.reference;
        size_ = reference.size;
        if (size_ > kLargestCopy) {
            return fail(Errc::invalid,
                        fmt::format("{} bytes are more than a copy may have", size_));
        }
        auto file =
            PartFile::open(repository(), {job_.id, source.content(), source.reference.size});
        if (!file) {
            return std::unexpected(file.error());
        }
        const std::string read_from = source.plan.upstreams.front().location.server;
        const bool only_source = source.sources == 1;
        auto filled = fill(*file, std::move(source));
        if (!filled) {
            if (filled.error().code != Errc::unavailable) {
                file->drop();
            }
            return std::unexpected(filled.error());
        }
        if (*filled == CopyEnd::wrong_digest) {
            file->drop();
            return PulledCopy{.end = CopyEnd::wrong_digest,
                              .last_source = attempt_ > 0 && only_source,
                              .size = size_,
                              .message = fmt::format("what {} sends is not what the catalog's "
                                                     "digest says; see: signpost verify {}",
                                                     read_from, escaped(job_.disk.str()))};
        }
        return finish(*file);
    }

    Result<CopyEnd> fill(PartFile& file, CopySource source) {
        if (auto proven = prove(file); !proven) {
            return std::unexpected(proven.error());
        }
        auto pin = std::make_shared<PinWatch>();
        source.plan.pinned = [pin](const Location& copy, const std::string& fingerprint) {
            pin->set(copy, fingerprint);
        };
        if (auto pulled = pull(file, source); !pulled) {
            return std::unexpected(pulled.error());
        }
        auto digest = file.digest();
        if (!digest) {
            return std::unexpected(digest.error());
        }
        digest_ = std::move(*digest);
        auto end = judge(file, source.reference, *pin);
        if (end && *end == CopyEnd::wrong_digest) {
            report_damage(source, *pin);
        }
        return end;
    }

    // From the second attempt on it is known who sent all that was read. While the image there is
    // the one that its digest was taken of, what has changed in it has rotted.
    void report_damage(const CopySource& source, const PinWatch& pin) {
        const Location& copy = source.plan.upstreams.front().location;
        if (attempt_ == 0 || !pin.is(copy)) {
            return;
        }
        const auto marked = parts_.catalog.set_location_state(
            job_.disk, copy.server, copy.generation, LocationState::damaged);
        if (marked) {
            parts_.log.error(
                fmt::format("{}: the copy on {} is not what its digest says: it counts "
                            "as damaged now",
                            disk_text(job_.disk), copy.server));
        }
    }

    // What an earlier attempt has left, as far as it can be trusted.
    Result<void> prove(PartFile& file) {
        proven_.assign(chunk_count(size_), 0);
        if (!file.resumed()) {
            return {};
        }
        std::vector<std::optional<DigestTree::ChunkDigest>> record(proven_.size());
        for (std::uint64_t i = 0; i < record.size(); ++i) {
            record[i] = file.known(i);
        }
        const auto disk = file.disk();
        SweepPlan plan;
        plan.trust_map = true;
        plan.wanted = [&](std::uint64_t i) { return record[i].has_value(); };
        plan.take = [&](const Chunk& chunk) -> Result<void> {
            const auto digest = leaf_of(chunk);
            proven_[chunk.index] = digest && digest == *record[chunk.index] ? 1 : 0;
            return {};
        };
        plan.watch = [this](std::uint64_t) {
            return say(0, "looking at what an earlier attempt has left");
        };
        return sweep(*disk, plan);
    }

    Result<void> pull(PartFile& file, const CopySource& source) {
        // Later attempts are to show who sends wrong bytes.
        const bool from_cache = attempt_ == 0 && parts_.relay_with_cache;
        const auto disk =
            from_cache ? parts_.relay_with_cache(source.plan) : parts_.relay(source.plan);
        if (auto reached = reach(*disk); !reached) {
            return reached;
        }
        if (auto room = check_room(file, *disk, source.trust_map); !room) {
            return room;
        }
        SweepPlan plan;
        plan.trust_map = source.trust_map;
        plan.rate = job_.rate;
        plan.wanted = [this](std::uint64_t i) { return proven_[i] == 0; };
        plan.take = [&](const Chunk& chunk) { return keep(file, chunk); };
        plan.watch = [&](std::uint64_t done) -> Result<void> {
            if (file.room() == 0) {
                return full();
            }
            return say(done, fmt::format("copying from {}", source.reference.server));
        };
        auto swept = sweep(*disk, plan);
        if (!swept && swept.error().code == Errc::io) {
            return fail(Errc::unavailable, swept.error().message);
        }
        return swept;
    }

    Result<void> keep(PartFile& file, const Chunk& chunk) {
        const auto digest = leaf_of(chunk);
        if (!digest) {
            return fail(Errc::invalid, digest.error().message);
        }
        auto written = write(file, chunk);
        if (written) {
            written = file.remember(chunk.index, *digest);
        }
        if (!written && written.error().code == Errc::full) {
            return full();
        }
        if (!written && written.error().code == Errc::io) {
            return fail(Errc::corrupt, written.error().message);  // ours, not the sources'
        }
        return written;
    }

    // One at a time: writers of one file only spin while the other has its lock.
    Result<void> write(PartFile& file, const Chunk& chunk) {
        const std::lock_guard lock(write_mutex_);
        return file.write(chunk);
    }

    Result<DigestTree::ChunkDigest> leaf_of(const Chunk& chunk) {
        if (!chunk.bytes.empty()) {
            return digest_of_chunk(chunk.bytes);
        }
        if (chunk.length != DigestTree::kChunkBytes) {
            return digest_of_zeroes(chunk.length);
        }
        const std::lock_guard lock(zero_mutex_);
        if (!zero_leaf_) {
            zero_leaf_ = digest_of_zeroes(chunk.length);
        }
        return *zero_leaf_;
    }

    std::unexpected<Error> full() const {
        return fail(Errc::full, fmt::format("repository {} has no room for it",
                                            escaped(repository().directory(), 400)));
    }

    // The map is only asked when it matters.
    Result<void> check_room(const PartFile& file, Disk& disk, bool trust_map) const {
        std::uint64_t missing = 0;
        for (std::uint64_t i = 0; i < proven_.size(); ++i) {
            missing += proven_[i] == 0 ? chunk_bytes(size_, i) : 0;
        }
        const std::uint64_t room = file.room();
        if (missing <= room) {
            return {};
        }
        const std::uint64_t data = trust_map ? mapped_bytes(disk) : missing;
        return data <= room ? Result<void>() : full();
    }

    // Whether what came is what was meant.
    Result<CopyEnd> judge(PartFile& file, const Location& reference, const PinWatch& pin) {
        if (!reference.digest.empty() && digest_ != reference.digest) {
            return CopyEnd::wrong_digest;
        }
        const auto record = record_now(parts_.catalog, job_.disk);
        if (!record) {
            return later(record);
        }
        const Location* now = *record ? copy_on(**record, reference.server) : nullptr;
        if (reference.digest.empty()) {
            if (now == nullptr || now->fingerprint != reference.fingerprint || !pin.is(*now)) {
                return changed(file);
            }
            return tell_digest(file, *now);
        }
        const bool still =
            *record && std::ranges::any_of((*record)->locations, [&](const Location& copy) {
                return copy.server != parts_.server && copy.digest == digest_ &&
                       copy.state == LocationState::ready;
            });
        return still ? Result<CopyEnd>(CopyEnd::done) : changed(file);
    }

    std::unexpected<Error> changed(PartFile& file) const {
        file.drop();
        return fail(Errc::unavailable, "it changed while it was copied; it is copied again");
    }

    // The source's digest goes first: after a crash it is what the landed image is known by.
    Result<CopyEnd> tell_digest(PartFile& file, const Location& reference) {
        const auto told = parts_.catalog.record_digest(
            {job_.disk, reference.server, reference.generation, digest_});
        if (told) {
            return CopyEnd::done;
        }
        return told.error().code == Errc::conflict ? Result<CopyEnd>(changed(file)) : later(told);
    }

    Result<PulledCopy> finish(PartFile& file) {
        if (auto said = say(size_, "moving it to its place"); !said) {
            return std::unexpected(said.error());
        }
        if (auto landed = file.land(repository(), path_, replace_); !landed) {
            file.drop();
            return std::unexpected(landed.error());
        }
        fingerprint_.clear();
        const auto leaf = [&file](std::uint64_t i) { return file.known(i); };
        if (auto published = publish(digest_, leaf); !published) {
            return std::unexpected(published.error());
        }
        file.drop();
        return ended(size_);
    }

    // In the catalog with its digest, at once. The publisher finds the file by itself and has
    // nothing to add; nor has the digester, which finds the chunks' digests that LEAF gives.
    Result<void> publish(const std::string& digest, const DigestStore::LeafOf& leaf) {
        auto found = parts_.repositories.inspect(job_.disk, std::chrono::milliseconds(0));
        if (!found) {
            return std::unexpected(found.error());
        }
        const std::string& now = found->image.fingerprint;
        if (found->unsettled || found->image.size != size_ ||
            (!fingerprint_.empty() && fingerprint_ != now)) {
            return fail(Errc::unavailable, "its image here is being changed by somebody");
        }
        if (parts_.digests != nullptr && found->image.read_only) {
            // Where that fails they are computed later.
            (void)parts_.digests->keep({job_.disk, now, size_}, digest, leaf);
        }
        const auto published = parts_.catalog.publish(parts_.server, {.images = {found->image}});
        if (!published) {
            return later(published);
        }
        const auto record = record_now(parts_.catalog, job_.disk);
        if (!record) {
            return later(record);
        }
        const Location* own = *record ? copy_on(**record, parts_.server) : nullptr;
        if (own == nullptr || own->fingerprint != now) {
            return fail(Errc::unavailable, "the catalog does not have it yet");
        }
        const auto told =
            parts_.catalog.record_digest({job_.disk, parts_.server, own->generation, digest});
        return told ? Result<void>() : later(told);
    }

    Result<void> say(std::uint64_t done, std::string message) {
        return tell_({.size = size_, .done = done, .message = std::move(message)});
    }

    static bool has_ignored_component(std::string_view path) {
        for (;;) {
            const auto slash = path.find('/');
            if (is_ignored_component(path.substr(0, slash))) {
                return true;
            }
            if (slash == path.npos) {
                return false;
            }
            path.remove_prefix(slash + 1);
        }
    }

    const CopierParts& parts_;
    const Job& job_;
    const unsigned attempt_;
    const TellProgress& tell_;
    const RelayPlanner planner_;

    std::string path_;
    bool replace_ = false;
    std::uint64_t size_ = 0;
    std::string digest_;
    std::string fingerprint_;  // of an image that was read; empty: one that was just made
    std::vector<char> proven_;
    std::mutex write_mutex_;
    std::mutex zero_mutex_;
    std::optional<Result<DigestTree::ChunkDigest>> zero_leaf_;  // guarded by zero_mutex_
};

}  // namespace

Result<PulledCopy> pull_copy(const CopierParts& parts, const Job& job, unsigned attempt,
                             const TellProgress& tell) {
    return Pull(parts, job, attempt, tell).run();
}

}  // namespace signpost
