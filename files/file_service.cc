// SPDX-License-Identifier: BSD-3-Clause

#include "files/file_service.h"

#include <fmt/format.h>

#include <new>

#include "files/confinement.h"
#include "files/partition_table.h"
#include "files/probe.h"
#include "files/tsk_volume.h"

namespace signpost::files {

namespace {

constexpr std::size_t kOpenVolumes = 16;

class Service {
   public:
    explicit Service(DiskLink& link) : link_(link) {}

    End answer(const Question& question) {
        return std::visit([this](const auto& asked) { return answer(asked); }, question);
    }

   private:
    End answer(const Begin& /*question*/) { return {}; }
    End answer(const Supply& /*question*/) { return {}; }
    End answer(const AskUnlock& /*question*/) { return {End::Status::invalid, "no passphrase"}; }

    End answer(const AskPartitions& /*question*/) {
        const auto partitions = read_partitions(link_);
        if (!partitions) {
            return {End::Status::read_error, partitions.error().message};
        }
        for (const Partition& partition : *partitions) {
            link_.say(partition);
        }
        return {};
    }

    End answer(const AskPath& question) {
        return with_volume(question.volume, [&](TskVolume& volume) {
            Entry entry;
            End end = volume.find(question, entry);
            if (end.status == End::Status::ok) {
                link_.say(entry);
            }
            return end;
        });
    }

    End answer(const AskList& question) {
        return with_volume(question.volume, [&](TskVolume& volume) {
            return volume.list(question, [this](const Entry& entry) { link_.say(entry); });
        });
    }

    End answer(const AskPieces& question) {
        return with_volume(question.volume, [&](TskVolume& volume) {
            return volume.pieces(question, [this](const Piece& piece) { link_.say(piece); });
        });
    }

    template <class Use>
    End with_volume(const Volume& wanted, Use use) {
        if (wanted.start > link_.size() || wanted.length > link_.size() - wanted.start) {
            return {End::Status::invalid, "the partition is not on the disk"};
        }
        for (const auto& open : volumes_) {
            if (open->volume() == wanted) {
                return use(*open);
            }
        }
        const Probed found = probe(link_, wanted);
        if (!TskVolume::reads(found.type)) {
            return {End::Status::unsupported,
                    found.type.empty()
                        ? "no known file system"
                        : fmt::format("{} is none of the file systems that are read", found.type)};
        }
        End trouble;
        auto opened = TskVolume::open(link_, wanted, found.type, trouble);
        if (!opened) {
            return trouble;
        }
        if (volumes_.size() == kOpenVolumes) {
            volumes_.erase(volumes_.begin());
        }
        volumes_.push_back(std::move(opened));
        return use(*volumes_.back());
    }

    DiskLink& link_;
    std::vector<std::unique_ptr<TskVolume>> volumes_;
};

}  // namespace

void serve_files(DiskLink& link) {
    Service service(link);
    for (;;) {
        const Question question = link.next();
        renew_processor_time();
        End end;
        try {
            end = service.answer(question);
        } catch (const std::bad_alloc&) {
            end = {End::Status::damaged, "the file system wants more memory than there may be"};
        }
        link.say(end);
    }
}

}  // namespace signpost::files
