// SPDX-License-Identifier: BSD-3-Clause
//
// How long ReplyReader takes for one reply. A prepared stream of replies to reads, 32 in flight, is
// handed over in pieces as a socket would give them. The time of a bare copy to where the bytes
// belong, which a real socket does in the kernel, is measured apart and taken off: what is left is
// parsing, and the second copy of what passed through the inner buffer. Prints medians of several
// rounds.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "nbd-server/wire/reply_reader.h"

namespace {

using namespace signpost::wire;
constexpr std::uint64_t kInFlight = 32;
constexpr int kRounds = 9;

struct Case {
    const char* name;
    bool structured;
    std::uint32_t length;   // of each read
    std::size_t at_a_time;  // bytes that one receive brings at most
};

// CPU time of this thread: what others do on the machine does not count.
double now() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

std::string reply(const Case& c, std::uint64_t cookie) {
    std::string out;
    if (c.structured) {
        append(out,
               ChunkHeader{kChunkMagic, kChunkDone, static_cast<std::uint16_t>(Chunk::offset_data),
                           cookie, c.length + 8});
        append(out, Be64(cookie * c.length));
    } else {
        append(out, SimpleReplyHeader{kSimpleReplyMagic, 0, cookie});
    }
    out.append(c.length, 'x');
    return out;
}

// Copies the stream into the targets; without PARSE, straight into the buffers.
double nanoseconds_per_reply(const Case& c, std::uint64_t replies, bool parse) {
    const std::string stream = [&] {
        std::string all;
        for (std::uint64_t i = 0; i < kInFlight; ++i) {
            all += reply(c, i);
        }
        return all;
    }();
    std::vector<std::byte> buffers(kInFlight * c.length);
    std::vector<ReplyReader::Finished> finished;
    ReplyReader reader({.structured_replies = c.structured});
    const double begin = now();
    for (std::uint64_t done = 0; done < replies; done += kInFlight) {
        for (std::uint64_t i = 0; parse && i < kInFlight; ++i) {
            reader.expect(i, {Command::read, i * c.length, c.length, &buffers[i * c.length]});
        }
        finished.clear();
        for (std::size_t at = 0; at < stream.size();) {
            std::span<std::byte> first = std::span(buffers).subspan(at % buffers.size());
            std::span<std::byte> second;
            if (parse) {
                const auto targets = reader.targets();
                first = targets.first;
                second = targets.second;
            }
            const std::size_t n =
                std::min({c.at_a_time, stream.size() - at, first.size() + second.size()});
            const std::size_t in_first = std::min(n, first.size());
            std::memcpy(first.data(), stream.data() + at, in_first);
            if (n > in_first) {
                std::memcpy(second.data(), stream.data() + at + in_first, n - in_first);
            }
            if (parse) {
                reader.received(n, finished);
            }
            at += n;
        }
        if (parse && (reader.broken() || finished.size() != kInFlight)) {
            fmt::print(stderr, "wire_bench: {}\n", reader.reason());
            std::exit(1);
        }
    }
    return (now() - begin) / static_cast<double>(replies);
}

double median(const Case& c, std::uint64_t replies, bool parse) {
    std::vector<double> rounds;
    for (int i = 0; i < kRounds; ++i) {
        rounds.push_back(nanoseconds_per_reply(c, replies, parse));
    }
    std::sort(rounds.begin(), rounds.end());
    return rounds[kRounds / 2];
}

}  // namespace

int main() {
    fmt::print("{:<34} {:>12} {:>12} {:>12}\n", "replies", "copy ns", "all ns", "reader ns");
    for (const Case& c : {Case{"simple, 4 KiB", false, 4096, 64 * 1024},
                          Case{"structured, 4 KiB", true, 4096, 64 * 1024},
                          Case{"structured, 512 B", true, 512, 64 * 1024},
                          Case{"structured, 4 KiB, one at a time", true, 4096, 4096 + 28},
                          Case{"structured, 128 KiB", true, 128 * 1024, 256 * 1024}}) {
        const std::uint64_t replies = c.length > 65536 ? 20'000 : 200'000;
        const double copy = median(c, replies, false);
        const double all = median(c, replies, true);
        fmt::print("{:<34} {:>12.1f} {:>12.1f} {:>12.1f}\n", c.name, copy, all, all - copy);
    }
    return 0;
}
