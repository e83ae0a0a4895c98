// SPDX-License-Identifier: BSD-3-Clause
//
// ReadBatch gathers replies to small reads whose bytes are at hand: many are read into one piece of
// memory, the image is looked at once, and all leave in one call. When the look shows that the
// image has changed, none of the bytes leave and each read gets an error instead.
//
// Lifetime: one call of Session::serve. Threads: the loop's.

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "nbd-server/wire/request_reader.h"

namespace signpost {

class Session;

class ReadBatch {
   public:
    ReadBatch(Session& session, std::span<std::byte> room) : session_(session), room_(room) {}

    // False: the bytes are not at hand, or there are too many of them.
    bool add(const wire::Request& request);

    // Sends what there is.
    void finish();

   private:
    bool content_holds();

    Session& session_;
    std::span<std::byte> room_;
    std::size_t used_ = 0;
    std::vector<wire::Request> reads_;
};

}  // namespace signpost
