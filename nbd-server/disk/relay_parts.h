// SPDX-License-Identifier: BSD-3-Clause
//
// RelayParts collects what a server sends for one read as ReadParts: large payloads in pipes, which
// they reach without entering user space, small ones in memory, holes as holes. Nothing leaves
// before the whole reply has come and been found good.
//
// How large: a pipe costs a few system calls, a copy costs by the byte; they are equal near 32 KiB.
// A pipe has room for so many fragments, not bytes; where small ones fill it early the rest is
// copied, as it is when there is no pipe to be had or the connection is encrypted.
//
// Lifetime: the pool outlives it. One thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nbd-server/disk/pipe_pool.h"
#include "nbd-server/disk/read_part.h"
#include "nbd-server/wire/reply_reader.h"

namespace signpost {

class RelayParts final : public wire::Landing {
   public:
    // Begins to collect LENGTH bytes at OFFSET; what there was is dropped. PIPES null: no pipes.
    void begin(std::uint64_t offset, std::uint32_t length, PipePool* pipes);
    void drop();

    std::byte* data(std::uint64_t offset, std::uint32_t length,
                    std::span<const std::byte> begun) override;
    void hole(std::uint64_t offset, std::uint32_t length) override;

    // For a chunk that data() gave no memory: moves up to LEFT bytes into its pipe, as splice(2).
    ssize_t move_from(int socket, std::size_t left);

    // The pipe takes no more: memory for the LEFT bytes of the chunk that are still to come.
    std::byte* land_rest(std::uint32_t left);

    // Of a complete reply, in any order; the caller moves them out.
    std::span<ReadPart> parts() { return parts_; }

    // False: something was lost on its way out of a pipe.
    bool whole() const { return whole_; }

   private:
    std::byte* memory_part(std::uint64_t offset, std::uint32_t length);
    bool pipe_part(std::uint64_t offset, std::uint32_t length, std::span<const std::byte> begun);
    void collapse();
    static bool copy_out(ReadPart& part, std::byte* to);

    std::uint64_t offset_ = 0;
    std::uint32_t length_ = 0;
    PipePool* pipes_ = nullptr;
    std::vector<ReadPart> parts_;
    bool collapsed_ = false;  // into one part for all, in memory
    bool whole_ = true;
};

}  // namespace signpost
