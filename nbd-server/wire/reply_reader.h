// SPDX-License-Identifier: BSD-3-Clause
//
// ReplyReader reads the server's replies in the transmission phase, as the client: simple and
// structured ones, in any order. Pure: bytes in, results out; no socket, no clock, no log.
// Source: doc/proto.md, "Transmission", "Structured reply chunk message", "Structured reply types".
//
// Payload bytes go straight to the buffer of the read that they answer: the caller asks target()
// where the next bytes belong, receives into it, and says received(n). Small things (headers, small
// payloads, errors, block status) pass through an inner buffer, so that one recv may bring many
// replies. A read may have a Landing instead of a buffer: then each chunk of its payload is asked
// for a place when it begins, and may be moved past the reader, which is told only how much.
//
// Every reply is checked: known cookie, chunk inside the request, no overlap, full cover at DONE,
// no zero-size chunk, no data after an error chunk counted as success, no unknown chunk type
// without the error bit, block status from the negotiated context, extents not zero and (but for
// the last) not beyond the request. A violation makes the reader broken() for good: the caller
// drops the connection. An error chunk fails that request only.
//
// Lifetime: one object per connection; the Pending records that it is told of stay put until they
// are finished or forgotten. Threads: one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/wire/cookie_table.h"
#include "nbd-server/wire/coverage.h"
#include "nbd-server/wire/extent.h"
#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

// Where the payload of one read goes when one buffer for all of it would not do. The reader has
// checked each range: inside of the request, and not answered before.
class Landing {
   public:
    virtual ~Landing() = default;

    // LENGTH bytes of data begin, at OFFSET of the export. BEGUN, the first of them, have been
    // received already. Returns the place for all of them; or null, then BEGUN is taken by this
    // call and the others are to be moved apart (ReplyReader::apart()).
    virtual std::byte* data(std::uint64_t offset, std::uint32_t length,
                            std::span<const std::byte> begun) = 0;
    virtual void hole(std::uint64_t offset, std::uint32_t length) = 0;
};

// One request on its way, as the reader needs to know it. The reader's own fields hold how much of
// a read is covered.
struct Pending {
    Command command;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::byte* buffer = nullptr;             // reads: LENGTH bytes; null: drop the payload
    Landing* landing = nullptr;              // reads: takes the payload instead of `buffer`
    std::vector<Extent>* extents = nullptr;  // block status: filled
    std::uint32_t error = 0;                 // filled: NBD error value, 0 for success
};

class ReplyReader {
   public:
    struct Contract {
        bool structured_replies = false;
        bool has_allocation_context = false;
        std::uint32_t allocation_context = 0;
    };

    explicit ReplyReader(Contract contract);

    // From now on a reply to COOKIE is expected. The cookie must not be in use, and should never
    // have been: only then is a late or doubled reply told from a good one.
    void expect(std::uint64_t cookie, Pending pending);

    // The request was given up: its reply is still expected, checked and dropped; the buffer that
    // was given with it is not touched again. It is not reported as finished. Not to be called
    // between targets() and its received(), when bytes may already be on their way into that
    // buffer.
    void abandon(std::uint64_t cookie);

    // Where the next received bytes go: never empty unless broken(). The caller may receive fewer.
    std::span<std::byte> target();

    // As target(), and behind it the inner buffer (second span), so that one readv can take the
    // rest of a payload and the replies that follow. The second may be empty. Both stay valid until
    // received() or abandon().
    struct Targets {
        std::span<std::byte> first;
        std::span<std::byte> second;
    };
    Targets targets();

    // N bytes were received into targets(), first span first. Replies that are now complete are
    // appended to `finished`: the cookie, and its Pending with error and extents filled in.
    struct Finished {
        std::uint64_t cookie;
        Pending pending;
    };
    void received(std::size_t n, std::vector<Finished>& finished);

    // Payload that comes next and is to be moved apart, instead of receiving into targets(). None
    // when the landing is null.
    struct Apart {
        Landing* landing = nullptr;
        std::uint32_t left = 0;
    };
    Apart apart() const;

    // N bytes of apart() were moved. As received().
    void moved(std::size_t n, std::vector<Finished>& finished);

    // What is left of apart() goes to TO after all.
    void land(std::byte* to);

    bool broken() const { return !reason_.empty(); }
    const std::string& reason() const { return reason_; }  // one line

    // Requests whose replies are still to come, abandoned ones included.
    std::size_t outstanding() const;

   private:
    struct Slot {
        std::uint32_t index = 0;
        std::uint64_t cookie = 0;
        Pending pending{};
        Coverage coverage;
        std::uint32_t error_chunks = 0;
        bool has_status = false;
        bool abandoned = false;
    };

    // What the next bytes are.
    enum class Phase : std::uint8_t { header, body, data, apart, descriptors };

    // The reply, or chunk of one, that is being read.
    struct Current {
        Slot* slot = nullptr;
        Chunk type = Chunk::none;
        bool done = false;        // the last of its reply
        std::uint32_t left = 0;   // bytes of it still to come
        std::byte* to = nullptr;  // data: where they go; null: nowhere
    };

    // Bytes that have been received into inner_ and not been parsed.
    std::size_t buffered() const { return end_ - begin_; }
    const std::byte* next() const { return inner_.get() + begin_; }
    std::span<const std::byte> take(std::size_t n);

    bool is_direct() const;
    std::size_t window() const;
    std::size_t header_bytes() const;
    std::size_t header_window() const;
    void run(std::vector<Finished>& finished);
    void forget_landing(Slot& slot);

    // Each takes one step of the parse; false: more bytes are needed, or broken().
    bool step();
    bool parse_header();
    bool parse_simple_header();
    bool parse_chunk_header();
    bool parse_body();
    bool parse_data();
    bool parse_descriptors();

    // Parts of a step; false: broken().
    bool check_chunk() const;
    std::size_t body_bytes() const;
    bool begin_data(std::uint64_t offset);
    bool fill_hole(std::span<const std::byte> body);
    bool note_error(std::span<const std::byte> body);
    bool begin_descriptors(std::uint32_t context);
    bool add_descriptor(const BlockDescriptor& descriptor);
    bool cover(std::uint64_t offset, std::uint32_t size);
    bool end_chunk();
    bool finish_reply();

    bool is_inside(std::uint64_t offset) const;
    Slot* find(std::uint64_t cookie);
    void release(Slot& slot);
    bool fail(std::string reason);
    bool fail_reply(std::string_view what);

    Contract contract_;
    std::unique_ptr<std::byte[]> inner_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    Phase phase_ = Phase::header;
    Current current_;
    std::uint64_t described_ = 0;                // bytes, by the descriptors of this chunk so far
    std::vector<Finished>* finished_ = nullptr;  // during received()

    CookieTable table_;
    std::deque<Slot> slots_;  // never moved; as many as were ever in flight at once
    std::vector<std::uint32_t> free_slots_;
    std::uint64_t read_bytes_ = 0;  // asked for by the reads in flight
    std::size_t landings_ = 0;      // reads in flight that have one
    std::string reason_;
};

// The 28 bytes of a request header (doc/proto.md, "Request message"), appended to OUT.
void append_request(std::string& out, Command command, std::uint16_t flags, std::uint64_t cookie,
                    std::uint64_t offset, std::uint32_t length);

}  // namespace signpost::wire
