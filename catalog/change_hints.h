// SPDX-License-Identifier: BSD-3-Clause
//
// Whom a store tells that something in it has changed, where it can. Only a hint: whoever needs to
// know looks at the change sequence anyway, now and then.
//
// Lifetime: an entry may outlive the hints, and ends with its handle. When the handle is gone its
// function is not running and never runs again: so the handle goes first, and under no lock that
// the function takes. Threads: any.

#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>

namespace signpost {

class ChangeHints {
   public:
    // TOLD is short, never blocks and never throws.
    std::shared_ptr<void> add(std::function<void()> told);

    void tell() const;

   private:
    struct Book {
        std::mutex mutex;
        std::list<std::function<void()>> told;
    };
    const std::shared_ptr<Book> book_ = std::make_shared<Book>();
};

}  // namespace signpost
