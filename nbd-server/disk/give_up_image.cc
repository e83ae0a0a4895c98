// SPDX-License-Identifier: BSD-3-Clause
//
// The source's side of a move: an image is removed, for good, so nothing that others say is enough.
// This server itself reads what the target serves, byte by byte, and compares its digest with that
// of the own image. What is open stays open: sessions keep the inode that they have.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/chunk_sweep.h"
#include "nbd-server/disk/copy_work.h"
#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/image_file.h"

namespace signpost {

namespace {

template <class T>
std::unexpected<Error> later(const Result<T>& failed) {
    return fail(Errc::unavailable, failed.error().message);
}

Result<std::string> text_of(Result<ContentDigest> found) {
    return found ? Result<std::string>(std::move(found->digest)) : std::unexpected(found.error());
}

std::unexpected<Error> not_yet(std::string why) {
    return fail(Errc::unavailable, std::move(why));
}

class GivingUp {
   public:
    GivingUp(const CopierParts& parts, const Job& job, const TellProgress& tell)
        : parts_(parts), job_(job), tell_(tell) {}

    Result<PulledCopy> run() {
        if (!parts_.accepts) {
            return fail(Errc::denied, fmt::format("server {} gives nothing up: its configuration "
                                                  "says copies=off",
                                                  parts_.server));
        }
        auto image = parts_.repositories.open_image(job_.disk);
        if (!image && image.error().code != Errc::not_found) {
            return fail(Errc::conflict, image.error().message);
        }
        auto target = copy_at_target();
        if (!target) {
            return std::unexpected(target.error());
        }
        if (!image) {
            return withdraw();  // it was removed before a crash
        }
        for (const auto& step : {may_go(*image), nobody_else()}) {
            if (!step) {
                return std::unexpected(step.error());
            }
        }
        return compare(std::move(*image), *target);
    }

   private:
    Result<Location> copy_at_target() {
        const auto record = record_now(parts_.catalog, job_.disk);
        if (!record) {
            return later(record);
        }
        const Location* target = *record ? copy_on(**record, job_.target) : nullptr;
        if (target == nullptr || target->state != LocationState::ready || target->digest.empty()) {
            return not_yet(fmt::format("{} does not have it yet", job_.target));
        }
        const Location* own = copy_on(**record, parts_.server);
        if (own != nullptr) {
            own_ = *own;
        }
        return *target;
    }

    // What would still be needed when the image has gone.
    Result<void> may_go(const OpenImage& image) const {
        const ImageFile& file = image.chain.front();
        if (image.writable) {
            return fail(Errc::denied,
                        fmt::format("the copy on {} stands, and {} keeps its image, which is "
                                    "served writable: serve it read-only to move it",
                                    job_.target, parts_.server));
        }
        if (image.format() == ImageFormat::virtnbdbackup) {
            return fail(Errc::conflict,
                        fmt::format("the copy on {} stands, and {} keeps its image, which is of a "
                                    "backup set",
                                    job_.target, parts_.server));
        }
        // The layer below would take its name, and pass for a newer state of the disk.
        if (image.layer) {
            return fail(Errc::conflict,
                        fmt::format("the copy on {} stands, and {} keeps its image, which is one "
                                    "of a chain of layers: they stay together",
                                    job_.target, parts_.server));
        }
        for (const auto& [base, disk] : parts_.repositories.scan().backing) {
            if (disk != job_.disk && base.repository == file.repository && base.path == file.path) {
                return fail(Errc::conflict,
                            fmt::format("the copy on {} stands, and {} keeps its image, on which "
                                        "the one of {} is based",
                                        job_.target, parts_.server, disk_text(disk)));
            }
        }
        return {};
    }

    Result<void> nobody_else() const {
        if (parts_.being_written && parts_.being_written(job_.disk)) {
            return not_yet("a client writes to it");
        }
        const auto jobs = parts_.catalog.jobs("");
        if (!jobs) {
            return later(jobs);
        }
        for (const Job& other : *jobs) {
            if (other.id != job_.id && other.disk == job_.disk && !is_final(other.state)) {
                return not_yet(fmt::format("job {} works on it, too", other.id));
            }
        }
        return {};
    }

    Result<PulledCopy> compare(OpenImage image, const Location& target) {
        size_ = image.size;
        const std::string fingerprint = image.fingerprint;
        const bool known = own_.fingerprint == fingerprint && !own_.digest.empty();
        auto own = known ? Result<std::string>(own_.digest) : own_digest(std::move(image));
        if (!own) {
            return std::unexpected(own.error());
        }
        if (*own != target.digest || target.size != size_) {
            return fail(Errc::conflict,
                        fmt::format("{} and {} hold different content; both are kept",
                                    parts_.server, job_.target));
        }
        const auto there = digest_there();
        if (!there) {
            return std::unexpected(there.error());
        }
        if (*there != *own) {
            return fail(Errc::corrupt,
                        fmt::format("what {} serves is not what it says; {} keeps its image",
                                    job_.target, parts_.server));
        }
        return remove(fingerprint);
    }

    Result<std::string> own_digest(OpenImage image) {
        const auto disk = parts_.serve(std::move(image));
        if (!disk) {
            return std::unexpected(disk.error());
        }
        return text_of(digest_of(**disk, true, 0, [this](std::uint64_t) {
            return say("reading the image to be moved");
        }));
    }

    // From the target alone, and all of it.
    Result<std::string> digest_there() {
        auto plan = RelayPlanner(parts_.catalog, parts_.server, parts_.site).plan(job_.disk, false);
        if (!plan) {
            return later(plan);
        }
        std::erase_if(plan->upstreams, [this](const Upstream& upstream) {
            return upstream.location.server != job_.target;
        });
        if (plan->upstreams.empty()) {
            return not_yet(fmt::format("{} cannot be asked now", job_.target));
        }
        plan->ask_again = {};
        plan->traits.size = size_;
        const auto disk = parts_.relay(std::move(*plan));
        auto digest = text_of(digest_of(*disk, true, job_.rate, [this](std::uint64_t) {
            return say(fmt::format("{} reads the copy", parts_.server));
        }));
        return digest ? digest : later(digest);
    }

    // The image must still be the one that was compared.
    Result<PulledCopy> remove(const std::string& fingerprint) {
        auto image = parts_.repositories.open_image(job_.disk);
        if (!image || image->fingerprint != fingerprint) {
            return fail(Errc::conflict, fmt::format("the image on {} changed meanwhile, and is "
                                                    "kept",
                                                    parts_.server));
        }
        if (auto free = nobody_else(); !free) {
            return std::unexpected(free.error());
        }
        // In this order: with the location away, the target calls the move done, whether the image
        // is away or not.
        if (auto unlinked = unlink(image->chain.front()); !unlinked) {
            return std::unexpected(unlinked.error());
        }
        return withdraw();
    }

    Result<PulledCopy> withdraw() {
        const auto withdrawn =
            parts_.catalog.publish(parts_.server, {.images = {}, .vanished = {job_.disk}});
        if (!withdrawn) {
            return later(withdrawn);
        }
        return PulledCopy{.end = CopyEnd::done, .size = size_, .message = "moved"};
    }

    Result<void> unlink(const ImageFile& file) {
        const Repository& repository = parts_.repositories.repositories()[file.repository];
        const auto slash = file.path.rfind('/');
        const std::string parent = slash == file.path.npos ? "." : file.path.substr(0, slash);
        const std::string name = file.path.substr(slash + 1);
        const auto directory = open_beneath(repository.root(), parent, O_RDONLY | O_DIRECTORY);
        int error = directory ? 0 : directory.error();
        struct stat here {};
        struct stat opened {};
        if (directory) {
            if (::fstatat(directory->get(), name.c_str(), &here, AT_SYMLINK_NOFOLLOW) != 0 ||
                ::fstat(file.fd.get(), &opened) != 0) {
                error = errno;
            } else if (here.st_ino != opened.st_ino || here.st_dev != opened.st_dev) {
                error = ELOOP;  // a link to the image, or another file by now
            } else if (::unlinkat(directory->get(), name.c_str(), 0) != 0 ||
                       ::fsync(directory->get()) != 0) {
                error = errno;
            }
        }
        return error == 0 ? Result<void>()
                          : fail(Errc::denied,
                                 fmt::format("the copy on {} stands, but {} cannot "
                                             "be removed: {}",
                                             job_.target, display_path(repository, file.path),
                                             error_text(error)));
    }

    Result<void> say(std::string message) {
        return tell_({.size = size_, .done = size_, .message = std::move(message)});
    }

    const CopierParts& parts_;
    const Job& job_;
    const TellProgress& tell_;
    Location own_;  // as the catalog has it
    std::uint64_t size_ = 0;
};

}  // namespace

Result<PulledCopy> give_up_image(const CopierParts& parts, const Job& job,
                                 const TellProgress& tell) {
    return GivingUp(parts, job, tell).run();
}

Result<ContentDigest> digest_of(Disk& disk, bool trust_map, std::uint64_t rate,
                                const std::function<Result<void>(std::uint64_t done)>& watch) {
    const std::uint64_t size = disk.traits().size;
    DigestTree::Leaves leaves(chunk_count(size));
    const auto zeroes = digest_of_zeroes(DigestTree::kChunkBytes);
    if (!zeroes) {
        return std::unexpected(zeroes.error());
    }
    SweepPlan plan;
    plan.trust_map = trust_map;
    plan.rate = rate;
    plan.watch = watch;
    plan.take = [&](const Chunk& chunk) -> Result<void> {
        const bool whole_zero = chunk.bytes.empty() && chunk.length == DigestTree::kChunkBytes;
        const auto leaf = whole_zero            ? zeroes
                          : chunk.bytes.empty() ? digest_of_zeroes(chunk.length)
                                                : digest_of_chunk(chunk.bytes);
        if (!leaf) {
            return std::unexpected(leaf.error());
        }
        leaves[chunk.index] = *leaf;
        return {};
    };
    if (auto swept = sweep(disk, plan); !swept) {
        return std::unexpected(swept.error());
    }
    auto tree = DigestTree::start(size);
    if (!tree) {
        return std::unexpected(tree.error());
    }
    for (const DigestTree::ChunkDigest& leaf : leaves) {
        if (auto added = tree->add_digest(leaf); !added) {
            return std::unexpected(added.error());
        }
    }
    auto digest = tree->finish();
    if (!digest) {
        return std::unexpected(digest.error());
    }
    return ContentDigest{std::move(*digest), std::move(leaves)};
}

}  // namespace signpost
