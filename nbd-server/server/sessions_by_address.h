// SPDX-License-Identifier: BSD-3-Clause
//
// SessionsByAddress counts the sessions of each client address, so that one machine cannot take the
// places of all others. Clients on a Unix socket have no address and are not counted.
//
// Lifetime: outlives the places. Threads: any.

#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "nbd-server/server/client_identity.h"

namespace signpost {

class SessionsByAddress {
   public:
    using Address = decltype(IpAddress::bytes);

    // LIMIT: of sessions of one address at once; 0: none.
    explicit SessionsByAddress(unsigned limit) : limit_(limit) {}
    SessionsByAddress(const SessionsByAddress&) = delete;
    SessionsByAddress& operator=(const SessionsByAddress&) = delete;

    // One session's place: given back when it ends.
    class Place {
       public:
        Place() = default;
        Place(Place&& other) noexcept
            : owner_(std::exchange(other.owner_, nullptr)), address_(other.address_) {}
        Place& operator=(Place&& other) noexcept {
            std::swap(owner_, other.owner_);
            std::swap(address_, other.address_);
            return *this;
        }
        ~Place() {
            if (owner_ != nullptr) {
                owner_->leave(address_);
            }
        }

       private:
        friend class SessionsByAddress;
        Place(SessionsByAddress* owner, const Address& address)
            : owner_(owner), address_(address) {}

        SessionsByAddress* owner_ = nullptr;
        Address address_{};
    };

    // Empty: that address has as many as it may.
    std::optional<Place> enter(const std::optional<IpAddress>& address) {
        if (limit_ == 0 || !address) {
            return Place();
        }
        const std::lock_guard lock(mutex_);
        unsigned& count = counts_[address->bytes];
        if (count >= limit_) {
            return std::nullopt;
        }
        ++count;
        return Place(this, address->bytes);
    }

   private:
    void leave(const Address& address) {
        const std::lock_guard lock(mutex_);
        const auto found = counts_.find(address);
        if (--found->second == 0) {
            counts_.erase(found);
        }
    }

    const unsigned limit_;
    std::mutex mutex_;
    std::map<Address, unsigned> counts_;  // guarded by mutex_; never 0
};

}  // namespace signpost
