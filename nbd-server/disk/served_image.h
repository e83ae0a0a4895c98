// SPDX-License-Identifier: BSD-3-Clause
//
// ServedImage is one open image with its qemu-nbd: started when asked, again after a crash (a few
// times a minute), ended when told. It notices when files change that only others can have changed.
//
// Lifetime: the keeper and log outlive it; its end ends the helper. Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "nbd-server/disk/content_guard.h"
#include "nbd-server/disk/process_keeper.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

class ServedImage : public std::enable_shared_from_this<ServedImage> {
   public:
    using Clock = ProcessKeeper::Clock;

    // GONE is called on the keeper's thread whenever the helper has ended.
    ServedImage(OpenImage image, std::string socket_path, ProcessKeeper& keeper, Log& log,
                std::function<void(const std::shared_ptr<ServedImage>&)> gone);
    ~ServedImage();

    const OpenImage& image() const { return image_; }
    const std::string& socket_path() const { return socket_path_; }

    // Once, before anything else: remembers what the files look like now. Fails when they are no
    // longer what was opened.
    Result<void> pin();

    // False once a file was seen changed, for good; the log then says so. The top file of a
    // writable image does not count: it changes by our own hand.
    bool unchanged();

    // Starts the helper if it does not run. PROGRAM is qemu-nbd's path.
    Result<void> run(const std::string& program);

    // As run(), and waits until the helper greets a client: its refusal is then known.
    Result<void> run_and_greet(const std::string& program);

    // Ends the helper at WHEN unless run() comes first; false when there is none.
    bool end(Clock::time_point when);

    // Ends it now and waits for that.
    void finish();

   private:
    ProcessKeeper::ProcessPtr process();
    std::size_t recent_failures();
    Result<bool> start(const std::string& program);
    Result<ProcessKeeper::ProcessPtr> spawn(const std::string& program);
    Result<void> greet();
    void ended(bool asked, const std::string& last_words);
    std::string label() const;

    const OpenImage image_;
    const std::string socket_path_;
    ProcessKeeper& keeper_;
    Log& log_;
    const std::function<void(const std::shared_ptr<ServedImage>&)> gone_;

    // Of the files that only others can change; filled by pin().
    std::deque<ContentGuard> guards_;

    std::mutex start_mutex_;  // held while a helper is started; taken before process_mutex_
    std::atomic<bool> greeting_{false};  // a refusal goes to the caller, not to the log

    std::mutex process_mutex_;  // guards what follows
    ProcessKeeper::ProcessPtr process_;
    std::deque<Clock::time_point> failures_;  // when a helper ended by itself
};

}  // namespace signpost
