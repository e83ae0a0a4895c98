// SPDX-License-Identifier: BSD-3-Clause
//
// BurstWatch tells from the sizes of a connection's batches whether its other end keeps so many
// small messages under way that a moment's rest brings the next ones together. One big batch shows
// it, and is believed for a while: a server that keeps up gets them in twos and threes again. Where
// no batch is big the server may have kept up from the start, so a rest is tried now and then.
//
// Lifetime: a connection's. Threads: one at a time.

#pragma once

namespace signpost {

class BurstWatch {
   public:
    // COUNT small messages have come together. True: a rest before the next look is worth it.
    bool worth_resting(unsigned count) {
        if (count >= kMany) {
            believed_ = kBelieved;
            return true;
        }
        if (count > 0 && believed_ > 0) {
            --believed_;
            return true;
        }
        // Who has but one message under way waits for each answer: never try it there.
        if (count > 1 && ++since_try_ >= kTryAfter) {
            since_try_ = 0;
            return true;
        }
        return false;
    }

   private:
    static constexpr unsigned kMany = 12;
    static constexpr unsigned kBelieved = 64;  // batches
    static constexpr unsigned kTryAfter = 64;

    unsigned believed_ = 0;
    unsigned since_try_ = 0;
};

}  // namespace signpost
