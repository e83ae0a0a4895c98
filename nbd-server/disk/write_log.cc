// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/write_log.h"

#include <iterator>

namespace signpost {

std::uint64_t WriteLog::cost(const Entry& entry) {
    return sizeof(Entry) + (entry.payload ? entry.payload->size() : 0);
}

WriteLog::Handle WriteLog::append(Entry entry) {
    bytes_ += cost(entry);
    entries_.push_back(std::move(entry));
    return std::prev(entries_.end());
}

void WriteLog::acknowledge(Handle entry) {
    entry->acknowledged = true;
    entry->piece = nullptr;
    entry->epoch = epoch_;
}

void WriteLog::drop(Handle entry) {
    bytes_ -= cost(*entry);
    entries_.erase(entry);
}

void WriteLog::flush_succeeded(std::uint64_t epoch) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        const auto next = std::next(entry);
        if (entry->acknowledged && entry->epoch < epoch) {
            drop(entry);
        }
        entry = next;
    }
}

}  // namespace signpost
