// SPDX-License-Identifier: BSD-3-Clause
//
// WriteLog keeps the writes of a relayed disk that the server has not yet made durable: those on
// the way, and those acknowledged since the last flush. When the server dies and comes back, what
// it acknowledged may be gone; writing all of these again, in order, makes a later FLUSH true (R16
// and R17 of PROTOCOL.md).
//
// Pure; one thread at a time.

#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "nbd-server/wire/reply_reader.h"

namespace signpost {

class WriteLog {
   public:
    struct Entry {
        wire::Command command;
        std::uint16_t flags = 0;
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
        std::shared_ptr<const std::vector<std::byte>> payload = {};  // null unless a write
        void* piece = nullptr;  // the request on the way; null once acknowledged
        bool acknowledged = false;
        std::uint64_t epoch = 0;  // flushes begun when it was acknowledged
    };
    using Handle = std::list<Entry>::iterator;

    Handle append(Entry entry);
    void acknowledge(Handle entry);

    // The request failed for good, or was durable by itself: nothing to repeat.
    void drop(Handle entry);

    // A flush is about to be sent; give what this returns to flush_succeeded().
    std::uint64_t flush_begins() { return ++epoch_; }
    void flush_succeeded(std::uint64_t epoch);

    bool empty() const { return entries_.empty(); }
    std::uint64_t bytes() const { return bytes_; }
    std::list<Entry>& entries() { return entries_; }

   private:
    static std::uint64_t cost(const Entry& entry);

    std::list<Entry> entries_;  // in the order in which they were accepted
    std::uint64_t bytes_ = 0;
    std::uint64_t epoch_ = 0;
};

}  // namespace signpost
