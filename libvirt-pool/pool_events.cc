// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_events.h"

#include <libvirt/libvirt.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace signpost {

namespace {

constexpr int kKeepAliveSeconds = 10;
constexpr unsigned kKeepAliveCount = 2;  // unanswered: the connection is closed at the third

}  // namespace

struct PoolEvents::Heard {
    explicit Heard(std::string name) : pool(std::move(name)) {}

    // What a callback of libvirt's is given: a share in this, freed by libvirt.
    static Heard& of(void* share) { return **static_cast<std::shared_ptr<Heard>*>(share); }
    static void free(void* share) { delete static_cast<std::shared_ptr<Heard>*>(share); }

    void count_pool(virStoragePool* changed) {
        if (pool == virStoragePoolGetName(changed)) {
            const std::lock_guard lock(mutex);
            ++counts.pool;
            news.notify_all();
        }
    }

    static void on_pool(virConnect*, virStoragePool* pool, int event, int, void* share) {
        if (event == VIR_STORAGE_POOL_EVENT_STARTED) {
            of(share).count_pool(pool);
        }
    }
    static void on_refresh(virConnect*, virStoragePool* pool, void* share) {
        of(share).count_pool(pool);
    }
    static int on_machine(virConnect*, virDomain*, int event, int detail, void* share) {
        if (event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR) {
            Heard& heard = of(share);
            const std::lock_guard lock(heard.mutex);
            ++heard.counts.machines;
            heard.news.notify_all();
        }
        return 0;
    }
    static void on_close(virConnect*, int, void* itself) {
        Heard& heard = *static_cast<Heard*>(itself);
        const std::lock_guard lock(heard.mutex);
        heard.counts.closed = true;
        heard.news.notify_all();
    }

    const std::string pool;
    std::mutex mutex;
    std::condition_variable news;
    Counts counts;
};

void PoolEvents::begin_loop() {
    static const bool begun = [] {
        virEventRegisterDefaultImpl();
        std::thread([] {
            while (virEventRunDefaultImpl() == 0) {
            }
        }).detach();
        return true;
    }();
    static_cast<void>(begun);
}

PoolEvents::PoolEvents(const LibvirtHost& host, const std::string& pool)
    : connection_(host.connection()), heard_(std::make_shared<Heard>(pool)) {
    const auto with_share = [&](const auto& ask_for) {
        auto share = std::make_unique<std::shared_ptr<Heard>>(heard_);
        const int result = ask_for(share.get());
        if (result >= 0) {
            static_cast<void>(share.release());
        }
        return result;
    };
    started_ = with_share([&](void* share) {
        return virConnectStoragePoolEventRegisterAny(
            connection_, nullptr, VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
            VIR_STORAGE_POOL_EVENT_CALLBACK(&Heard::on_pool), share, &Heard::free);
    });
    refreshed_ = with_share([&](void* share) {
        return virConnectStoragePoolEventRegisterAny(
            connection_, nullptr, VIR_STORAGE_POOL_EVENT_ID_REFRESH,
            VIR_STORAGE_POOL_EVENT_CALLBACK(&Heard::on_refresh), share, &Heard::free);
    });
    stopped_ = with_share([&](void* share) {
        return virConnectDomainEventRegisterAny(connection_, nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                VIR_DOMAIN_EVENT_CALLBACK(&Heard::on_machine),
                                                share, &Heard::free);
    });
    // No share: libvirt lets nobody unregister this one while it runs, and a driver that knows no
    // such callback would keep it for ever.
    virConnectRegisterCloseCallback(connection_, &Heard::on_close, heard_.get(), nullptr);
    virConnectSetKeepAlive(connection_, kKeepAliveSeconds, kKeepAliveCount);
}

PoolEvents::~PoolEvents() {
    for (const int id : {started_, refreshed_}) {
        if (id >= 0) {
            virConnectStoragePoolEventDeregisterAny(connection_, id);
        }
    }
    if (stopped_ >= 0) {
        virConnectDomainEventDeregisterAny(connection_, stopped_);
    }
    virConnectUnregisterCloseCallback(connection_, &Heard::on_close);
}

PoolEvents::Counts PoolEvents::counts() const {
    const std::lock_guard lock(heard_->mutex);
    return heard_->counts;
}

PoolEvents::Counts PoolEvents::wait(const Counts& known,
                                    std::chrono::steady_clock::time_point until) const {
    std::unique_lock lock(heard_->mutex);
    heard_->news.wait_until(lock, until, [&] { return heard_->counts != known; });
    return heard_->counts;
}

}  // namespace signpost
