// SPDX-License-Identifier: BSD-3-Clause
//
// FormatHelpers keeps the table of images that have a helper. A *lease* is one user's hold on an
// entry of it: a Disk has one for as long as it lives. With the last lease gone a read-only image
// is kept warm for a while, since sessions come in bursts (a guest, then its backup); a writable
// one is closed at once, so that others find it clean and unlocked.
//
// Lock order: the table's mutex before those of ServedImage's process and of the keeper. Nothing
// waits for a helper with the table's mutex held, because the keeper's thread takes it.

#include "nbd-server/disk/format_helper.h"

#include <fmt/core.h>

#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/disk/qemu_nbd_command.h"
#include "nbd-server/disk/served_image.h"

namespace signpost {
namespace {

using Clock = ProcessKeeper::Clock;
using ImagePtr = std::shared_ptr<ServedImage>;

constexpr std::uint32_t kPreferredBlock = 64 * 1024;  // a cluster, or half of one

class Lease;
using LeasePtr = std::shared_ptr<Lease>;

// A disk behind a helper. What was read counts only if the image's files are still what they were
// when it was opened: the helper would go on with whatever is there. It is looked at before, too,
// so that nobody waits for a helper that may not be started any more.
class HelperDisk final : public Disk {
   public:
    HelperDisk(LeasePtr lease, ServedImage& image, std::shared_ptr<Disk> relayed)
        : lease_(std::move(lease)), image_(image), relayed_(std::move(relayed)) {}

    const DiskTraits& traits() const override { return relayed_->traits(); }

   private:
    // Stands in for the caller's `done` until the answer has come.
    struct Check {
        HelperDisk& disk;
        void (*done)(Request& request, int error);
        void* context;
    };

    void start(Request& request) override {
        if (!image_.unchanged()) {
            request.done(request, EIO);
            return;
        }
        if (request.op == Op::read || request.op == Op::extents) {
            request.context = new Check{*this, request.done, request.context};
            request.done = answered;
        }
        relayed_->submit(request);
    }

    static void answered(Request& request, int error) {
        const std::unique_ptr<Check> check(static_cast<Check*>(request.context));
        request.done = check->done;
        request.context = check->context;
        if (error == 0 && !check->disk.image_.unchanged()) {
            error = EIO;
        }
        request.done(request, error);
    }

    LeasePtr lease_;      // goes last: the helper is in use until the relay has closed its links
    ServedImage& image_;  // the lease's
    std::shared_ptr<Disk> relayed_;
};

class QemuHelpers final : public FormatHelpers {
   public:
    QemuHelpers(FormatHelperSettings settings, RelayEngine& engine, Log& log)
        : settings_(std::move(settings)), engine_(engine), log_(log) {}
    ~QemuHelpers() override;

    Result<std::shared_ptr<Disk>> open(OpenImage image,
                                       std::function<Result<void>()> before_first_write) override;

    unsigned running() override {
        const std::lock_guard lock(mutex_);
        return static_cast<unsigned>(table_.size());
    }

    void release(const std::string& key);

   private:
    struct Entry {
        ImagePtr image;
        std::weak_ptr<Disk> disk;
        unsigned users = 0;
        Clock::time_point idle_since{};
    };
    using Table = std::map<std::string, Entry>;

    // What was taken out of the table, to be ended without its mutex held.
    struct Leaving {
        std::vector<ImagePtr> same_disk;  // these first let go of their locks on the image's files
        std::vector<ImagePtr> others;
    };

    Result<void> prepare_once();
    Result<LeasePtr> take_lease(OpenImage image);
    Result<ImagePtr> find_or_add(const std::string& key, OpenImage image, Leaving& leaving);
    bool make_room(const DiskName& name, Leaving& leaving);
    ImagePtr take_out(Table::iterator entry);
    std::shared_ptr<Disk> share(const LeasePtr& lease, std::function<Result<void>()> first_write);
    RelayPlan plan(const LeasePtr& lease, std::function<Result<void>()> first_write) const;
    void helper_gone(const std::string& key, const ServedImage* image);

    const FormatHelperSettings settings_;
    RelayEngine& engine_;
    Log& log_;

    std::mutex mutex_;  // guards what follows
    std::condition_variable no_users_;
    unsigned users_ = 0;  // leases in all
    std::uint64_t sockets_ = 0;
    std::optional<PrivateDirectory> directory_;
    std::unique_ptr<ProcessKeeper> keeper_;  // made at first use: never before a fork
    Table table_;
};

class Lease {
   public:
    Lease(QemuHelpers& helpers, std::string key, ImagePtr image)
        : helpers_(helpers), key_(std::move(key)), image_(std::move(image)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
        image_.reset();
        helpers_.release(key_);
    }

    ServedImage& image() const { return *image_; }
    const std::string& key() const { return key_; }

   private:
    QemuHelpers& helpers_;
    const std::string key_;
    ImagePtr image_;
};

std::string key_of(const OpenImage& image) {
    return fmt::format("{} {} {}", image.fingerprint, image.writable ? "rw" : "ro",
                       image.name.str());
}

// A call of a relay that was under way when its disk was closed may hold a lease for a moment.
QemuHelpers::~QemuHelpers() {
    Table table;
    std::unique_ptr<ProcessKeeper> keeper;
    {
        std::unique_lock lock(mutex_);
        no_users_.wait(lock, [this] { return users_ == 0; });
        table.swap(table_);
        keeper = std::move(keeper_);
    }
    table.clear();
}

Result<void> QemuHelpers::prepare_once() {
    const std::lock_guard lock(mutex_);
    if (keeper_) {
        return {};
    }
    auto directory = PrivateDirectory::make("signpost-helpers");
    if (!directory) {
        return std::unexpected(std::move(directory.error()));
    }
    directory_.emplace(std::move(*directory));
    keeper_ = std::make_unique<ProcessKeeper>(log_);
    return {};
}

Result<std::shared_ptr<Disk>> QemuHelpers::open(OpenImage image,
                                                std::function<Result<void>()> before_first_write) {
    const auto program = find_program(settings_.program);
    if (!program) {
        return fail(
            Errc::not_found,
            fmt::format("disk \"{}\" is a {} image, and {} is not installed: install the"
                        " package qemu-utils",
                        escaped(image.name.str()), to_string(image.format()), settings_.program));
    }
    if (auto ready = prepare_once(); !ready) {
        return std::unexpected(std::move(ready.error()));
    }
    auto lease = take_lease(std::move(image));
    if (!lease) {
        return std::unexpected(std::move(lease.error()));
    }
    if (auto running = (*lease)->image().run_and_greet(*program); !running) {
        return std::unexpected(std::move(running.error()));
    }
    return share(*lease, std::move(before_first_write));
}

Result<LeasePtr> QemuHelpers::take_lease(OpenImage image) {
    const std::string key = key_of(image);
    Leaving leaving;
    auto served = [&] {
        const std::lock_guard lock(mutex_);
        return find_or_add(key, std::move(image), leaving);
    }();
    for (const ImagePtr& one : leaving.same_disk) {
        one->finish();
    }
    if (!served) {
        return std::unexpected(std::move(served.error()));
    }
    return std::make_shared<Lease>(*this, key, std::move(*served));
}

// Counts a user of it, whom the lease then stands for.
Result<ImagePtr> QemuHelpers::find_or_add(const std::string& key, OpenImage image,
                                          Leaving& leaving) {
    auto found = table_.find(key);
    if (found == table_.end()) {
        if (!make_room(image.name, leaving)) {
            return fail(Errc::unavailable,
                        fmt::format("disk \"{}\" needs a qemu-nbd, and all {} are in use: try"
                                    " again when other disks were closed",
                                    escaped(image.name.str()), settings_.maximum));
        }
        auto served = std::make_shared<ServedImage>(
            std::move(image), fmt::format("{}/{}", directory_->path(), ++sockets_), *keeper_, log_,
            [this, key](const ImagePtr& gone) { helper_gone(key, gone.get()); });
        if (auto pinned = served->pin(); !pinned) {
            leaving.others.push_back(std::move(served));
            return std::unexpected(std::move(pinned.error()));
        }
        found = table_.try_emplace(key).first;
        found->second.image = std::move(served);
    }
    ++found->second.users;
    ++users_;
    return found->second.image;
}

// Idle helpers of the same disk leave in any case: it has changed, or is now asked for in another
// way, and their locks would be in it.
bool QemuHelpers::make_room(const DiskName& name, Leaving& leaving) {
    for (auto entry = table_.begin(); entry != table_.end();) {
        const auto next = std::next(entry);
        if (entry->second.users == 0 && entry->second.image->image().name == name) {
            leaving.same_disk.push_back(take_out(entry));
        }
        entry = next;
    }
    while (table_.size() >= settings_.maximum) {
        auto oldest = table_.end();
        for (auto entry = table_.begin(); entry != table_.end(); ++entry) {
            if (entry->second.users == 0 &&
                (oldest == table_.end() || entry->second.idle_since < oldest->second.idle_since)) {
                oldest = entry;
            }
        }
        if (oldest == table_.end()) {
            return false;
        }
        leaving.others.push_back(take_out(oldest));
    }
    return true;
}

ImagePtr QemuHelpers::take_out(Table::iterator entry) {
    ImagePtr image = std::move(entry->second.image);
    table_.erase(entry);
    image->end(Clock::now());
    return image;
}

// The disk of the sessions that have the image open already, else a new one.
std::shared_ptr<Disk> QemuHelpers::share(const LeasePtr& lease,
                                         std::function<Result<void>()> first_write) {
    auto made = std::make_shared<HelperDisk>(
        lease, lease->image(), make_relayed_disk(engine_, plan(lease, std::move(first_write))));
    const std::lock_guard lock(mutex_);
    std::weak_ptr<Disk>& slot = table_.at(lease->key()).disk;
    if (auto there = slot.lock()) {
        return there;
    }
    slot = made;
    return made;
}

RelayPlan QemuHelpers::plan(const LeasePtr& lease,
                            std::function<Result<void>()> first_write) const {
    const OpenImage& image = lease->image().image();
    Upstream upstream;
    upstream.location.export_name = kHelperExport;
    upstream.location.size = image.size;
    upstream.location.format = image.format();
    upstream.location.read_only = !image.writable;
    NbdUri uri;
    uri.socket_path = lease->image().socket_path();
    uri.export_name = kHelperExport;
    upstream.uris.push_back(std::move(uri));
    upstream.trusted_address = true;
    // The relay may still be dialling when its disk has gone.
    upstream.prepare = [weak = std::weak_ptr(lease),
                        program = settings_.program]() -> Result<void> {
        const LeasePtr held = weak.lock();
        const auto path = find_program(program);
        if (!held || !path) {
            return fail(Errc::not_found, held ? program + " is not installed any more"
                                              : std::string("the disk was closed"));
        }
        return held->image().run(*path);
    };
    RelayPlan result{.disk = image.name,
                     .traits = {},
                     .upstreams = {},
                     .ask_again = {},
                     .before_first_write = std::move(first_write)};
    result.traits.size = image.size;
    result.traits.read_only = !image.writable;
    result.traits.preferred_block = kPreferredBlock;
    result.traits.description = describe_own_disk(image.size, image.format());
    result.upstreams.push_back(std::move(upstream));
    return result;
}

void QemuHelpers::release(const std::string& key) {
    ImagePtr leaving;
    {
        const std::lock_guard lock(mutex_);
        const auto entry = table_.find(key);
        if (--entry->second.users == 0) {
            entry->second.idle_since = Clock::now();
            const bool writable = entry->second.image->image().writable;
            const auto warm = writable ? std::chrono::seconds(0) : settings_.keep_warm;
            if (!entry->second.image->end(Clock::now() + warm)) {
                leaving = take_out(entry);
            }
        }
    }
    leaving.reset();  // before our end is no longer waited for
    const std::lock_guard lock(mutex_);
    if (--users_ == 0) {
        no_users_.notify_all();
    }
}

// On the keeper's thread. An entry in use stays: its helper is started again when it is needed.
void QemuHelpers::helper_gone(const std::string& key, const ServedImage* image) {
    ImagePtr leaving;
    const std::lock_guard lock(mutex_);
    const auto entry = table_.find(key);
    if (entry != table_.end() && entry->second.image.get() == image && entry->second.users == 0) {
        leaving = take_out(entry);
    }
}

}  // namespace

std::unique_ptr<FormatHelpers> make_format_helpers(FormatHelperSettings settings,
                                                   RelayEngine& engine, Log& log) {
    return std::make_unique<QemuHelpers>(std::move(settings), engine, log);
}

}  // namespace signpost
