// SPDX-License-Identifier: BSD-3-Clause
//
// PeerWatch knows how the servers of the catalog answered when they were last asked: each is
// dialled and greeted now and then, so that the console and the metrics need not do it when
// somebody looks.
//
// Lifetime: the catalog outlives it; the destructor waits for what is being asked (some seconds at
// the most). Threads: any; it has one of its own, of low weight.

#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "catalog/catalog.h"
#include "cli/probe.h"

namespace signpost {

class PeerWatch {
   public:
    struct Settings {
        Catalog& catalog;
        PeerTls tls = {};
        std::chrono::seconds interval{15};
    };

    explicit PeerWatch(Settings settings);
    PeerWatch(const PeerWatch&) = delete;
    PeerWatch& operator=(const PeerWatch&) = delete;
    ~PeerWatch();

    // By server; those that have not been asked yet are not in it.
    std::map<std::string, ProbeResult> all() const;

   private:
    void run();
    void ask_all();

    const Settings settings_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, ProbeResult> results_;  // guarded by mutex_
    bool ending_ = false;                         // guarded by mutex_
    std::thread thread_;
};

}  // namespace signpost
