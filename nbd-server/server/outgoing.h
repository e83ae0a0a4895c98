// SPDX-License-Identifier: BSD-3-Clause
//
// Outgoing is what a client is still to be sent, in order, each piece described by where its bytes
// are: in memory, its own or lent, in a file, in a pipe, or nowhere (zeroes). It is sent the
// cheapest way that the stream allows: small pieces gathered into one call, files and pipes moved
// by the kernel. A loan ends when its bytes have left, or are dropped.
//
// A *proof* is a place in the stream where it has to be said whether the bytes of a file that were
// sent before it are good; it is decided when they have left, not when it is queued.
//
// Lifetime: files outlive their pieces. Threads: one at a time.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string_view>

#include "nbd-server/disk/read_part.h"
#include "nbd-server/server/client_stream.h"
#include "nbd-server/server/memory_budget.h"

namespace signpost {

class Outgoing {
   public:
    static constexpr std::size_t kMaxProof = 96;

    // What a proof is about: a read whose bytes have left.
    struct Moved {
        std::uint64_t cookie = 0;
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
    };

    // Decides proofs. COULD_READ: false when a file could not be read or was too short.
    class Prover {
       public:
        virtual ~Prover() = default;

        // Writes what is to be sent in place of the proof, and returns its size; or says that the
        // stream must end here, because there is no way to take back what was sent.
        struct Proof {
            bool end_stream = false;
            std::size_t size = 0;
        };
        virtual Proof prove(const Moved& moved, bool could_read, std::span<std::byte> to) = 0;
    };

    enum class Sent {
        all,
        blocked,  // or it is the turn of others: come back when the stream can be written
        broken,
    };

    explicit Outgoing(Prover& prover) : prover_(prover) {}

    bool empty() const { return pieces_.empty(); }
    // Still to be sent, and held for that in memory or in pipes; not what lies in files.
    std::uint64_t held() const { return held_; }
    std::size_t pieces() const { return pieces_.size(); }

    // Copied.
    void text(std::span<const std::byte> bytes);
    void text(std::string_view bytes) { text(std::as_bytes(std::span(bytes))); }

    // The bytes from BEGIN on, LENGTH of them.
    void memory(std::unique_ptr<std::byte[]> bytes, std::size_t begin, std::size_t length,
                MemoryBudget::Share share);
    void zeroes(std::uint64_t length);
    void part(ReadPart part, MemoryBudget::Share share = {});
    void proof(const Moved& moved);

    // Sends what the stream takes. broken: the stream has failed, or a proof ended it.
    Sent send(ClientStream& stream);

    // Forgets what was not sent.
    void drop();

    // Bytes that left on the side, while nothing was queued.
    void count_sent(std::uint64_t bytes) { sent_ += bytes; }

    // Bytes that have left so far.
    std::uint64_t sent() const { return sent_; }

   private:
    enum class Kind : std::uint8_t { text, memory, lent, zeroes, file, pipe, proof };

    struct Piece {
        Kind kind = Kind::text;
        bool could_read = true;  // proof
        int file = -1;
        std::uint64_t begin = 0;   // of what is left: in `text`, `bytes` or the file
        std::uint64_t length = 0;  // that is left
        Moved moved = {};          // proof
        std::array<std::byte, kMaxProof> text;
        std::unique_ptr<std::byte[]> bytes;
        std::shared_ptr<const std::byte> loan;
        MemoryBudget::Share share;
        Pipe pipe;
    };

    enum class Step { moved, blocked, broken };

    static bool is_held(Kind kind);
    Piece& add(Kind kind, std::uint64_t length);
    Step send_gathered(ClientStream& stream);
    Step send_file(ClientStream& stream, Piece& piece);
    Step send_pipe(ClientStream& stream, Piece& piece);
    Step copy_out(Piece& piece);
    bool settle(Piece& proof);
    void spoil(Piece& piece);
    void consume(std::uint64_t n);
    bool follows() const { return pieces_.size() > 1; }

    Prover& prover_;
    std::deque<Piece> pieces_;
    std::uint64_t held_ = 0;
    std::uint64_t sent_ = 0;
};

}  // namespace signpost
