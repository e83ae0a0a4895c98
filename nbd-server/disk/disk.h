// SPDX-License-Identifier: BSD-3-Clause
//
// Disk is one guest-visible disk, open: a local image, or a relay of a peer's export. A request
// goes in with submit() and comes back through its own `done`, exactly once, perhaps before
// submit() returns, perhaps on another thread.
//
// Lifetime: the disk outlives its requests; destroying it waits for none, so callers drain first. A
// Request is the caller's: it, its buffer and its extents stay put until `done`.
// Threads: submit() from any thread, many requests at once. `done` must not block.
// Errors: an errno value: EIO, ENOSPC, EPERM (read-only), EINVAL (out of range), ENOTSUP (fast zero
// that would be slow), ESHUTDOWN, EBUSY (another client writes), ESTALE (it is written elsewhere
// now). The cause has been logged once where it was found.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/read_part.h"
#include "nbd-server/wire/reply_reader.h"

namespace signpost {

enum class Op : std::uint8_t { read, write, flush, trim, write_zeroes, cache, extents };

inline constexpr std::uint8_t kRequestFua = 1;        // durable before `done`
inline constexpr std::uint8_t kRequestNoHole = 2;     // write_zeroes: keep the space allocated
inline constexpr std::uint8_t kRequestFastZero = 4;   // write_zeroes: ENOTSUP rather than slow
inline constexpr std::uint8_t kRequestOneExtent = 8;  // extents: one is enough

using wire::Extent;

struct Request;

// Takes the bytes of a read where they are, part by part. Parts come in any order and do not
// overlap; when `done` says success they cover the read, after an error they may not. On the thread
// of `done`.
class ReadSink {
   public:
    virtual ~ReadSink() = default;
    virtual void take(Request& request, ReadPart part) = 0;
};

struct Request {
    Op op = Op::read;
    std::uint8_t flags = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;                // read, write: at most kMaxPayload
    std::byte* buffer = nullptr;             // read without sink: filled; write: taken from
    ReadSink* sink = nullptr;                // read: of a disk with a home loop only
    std::vector<Extent>* extents = nullptr;  // extents: filled from offset on, at least one
    void (*done)(Request& request, int error) = nullptr;
    void* context = nullptr;  // the caller's own
};

inline constexpr std::uint64_t kMaxPayload = 64 * 1024 * 1024;

// What the disk can do; fixed while it is open.
struct DiskTraits {
    std::uint64_t size = 0;
    bool read_only = true;
    bool multi_conn = true;  // a flush on one connection covers the writes of all
    bool fast_zero = false;
    bool rotational = false;
    bool relayed = false;             // from another server
    std::uint32_t minimum_block = 1;  // for writes, trims and zeroes; reads may be unaligned
    std::uint32_t preferred_block = 4096;
    std::string description;  // one line for people: "40 GiB raw on beta, relayed"
};

struct ReadRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const ReadRange&) const = default;
};

class EventLoop;

class Disk {
   public:
    enum class Now { done, would_wait, failed };

    Disk() = default;
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    virtual ~Disk() = default;

    virtual const DiskTraits& traits() const = 0;

    // Where requests complete. Null: submit() may block, and completes on the caller's thread. Else
    // submit() never blocks and `done` runs on this loop; a caller on the same loop saves the way
    // between threads.
    virtual EventLoop* home_loop() const { return nullptr; }

    // Whether what is asked for may be at hand, for read_now() and locate_now(), on any thread: a
    // session has no need to live on the home loop then.
    virtual bool is_near() const { return home_loop() == nullptr; }

    // Reads what is at hand without waiting for a device. The range is within the disk. The bytes
    // count only if content_holds() says so after they were taken.
    virtual Now read_now(std::uint64_t offset, std::span<std::byte> to);

    // As read_now, but only says where the bytes are; parts in order, from OFFSET on, are appended.
    virtual Now locate_now(std::uint64_t offset, std::uint32_t length,
                           std::vector<ReadPart>& parts);

    // False: the content of one of RANGES has changed since the disk was opened, and what was read
    // is void.
    virtual bool content_holds(std::span<const ReadRange> /*ranges*/) { return true; }

    // Finds out whether the disk can be had now, and calls TOLD once: on any thread, perhaps at
    // once, after a few seconds at the latest. not_found: who should have it says that it does not;
    // unavailable: where it lies, and why it cannot be had there; conflict: the same, but the
    // catalog was wrong about a copy, and whoever opens the disk anew gets it without that copy, if
    // it can be had so.
    using Told = std::move_only_function<void(const Result<void>& answer)>;
    virtual void reach(Told told);

    // The client says that it leaves: it will not come back to go on where it was.
    virtual void farewell() {}

    // Checks range, size and read-only (EINVAL, ENOSPC, EPERM through `done`), completes requests
    // of length 0, then hands over.
    void submit(Request& request);

   private:
    virtual void start(Request& request) = 0;
};

// Submits and waits. Returns 0 or an errno value.
int submit_and_wait(Disk& disk, Request& request);

}  // namespace signpost
