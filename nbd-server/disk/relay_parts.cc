// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_parts.h"

#include <cstring>

namespace signpost {

namespace {

constexpr std::size_t kWorthAPipe = 32 * 1024;

// A server that answers in crumbs shall not make us spend more on them than on their bytes.
constexpr std::size_t kMaxParts = 32;

}  // namespace

void RelayParts::begin(std::uint64_t offset, std::uint32_t length, PipePool* pipes) {
    drop();
    offset_ = offset;
    length_ = length;
    pipes_ = pipes;
}

void RelayParts::drop() {
    parts_.clear();
    collapsed_ = false;
    whole_ = true;
}

std::byte* RelayParts::data(std::uint64_t offset, std::uint32_t length,
                            std::span<const std::byte> begun) {
    if (length - begun.size() >= kWorthAPipe && pipe_part(offset, length, begun)) {
        return nullptr;
    }
    return memory_part(offset, length);
}

void RelayParts::hole(std::uint64_t offset, std::uint32_t length) {
    if (!collapsed_ && parts_.size() == kMaxParts) {
        collapse();
    }
    if (collapsed_) {
        std::memset(parts_[0].bytes.get() + (offset - offset_), 0, length);
        return;
    }
    ReadPart& part = parts_.emplace_back();
    part.offset = offset;
    part.length = length;
}

std::byte* RelayParts::memory_part(std::uint64_t offset, std::uint32_t length) {
    if (!collapsed_ && parts_.size() == kMaxParts) {
        collapse();
    }
    if (collapsed_) {
        return parts_[0].bytes.get() + (offset - offset_);
    }
    ReadPart& part = parts_.emplace_back();
    part.place = ReadPart::Place::memory;
    part.offset = offset;
    part.length = length;
    part.bytes = std::make_unique_for_overwrite<std::byte[]>(length);
    return part.bytes.get();
}

bool RelayParts::pipe_part(std::uint64_t offset, std::uint32_t length,
                           std::span<const std::byte> begun) {
    if (pipes_ == nullptr || parts_.size() >= kMaxParts) {
        return false;
    }
    Pipe pipe = pipes_->lend();
    if (!pipe) {
        return false;
    }
    ReadPart& part = parts_.emplace_back();
    part.place = ReadPart::Place::pipe;
    part.offset = offset;
    part.length = length;
    part.head = static_cast<std::uint32_t>(begun.size());
    part.pipe = std::move(pipe);
    if (!begun.empty()) {
        part.bytes = std::make_unique_for_overwrite<std::byte[]>(begun.size());
        std::memcpy(part.bytes.get(), begun.data(), begun.size());
    }
    return true;
}

ssize_t RelayParts::move_from(int socket, std::size_t left) {
    return parts_.back().pipe.fill_from(socket, left);
}

std::byte* RelayParts::land_rest(std::uint32_t left) {
    ReadPart& part = parts_.back();
    part.length -= left;
    const std::uint64_t offset = part.offset + part.length;
    if (part.length == 0) {
        parts_.pop_back();
    }
    return memory_part(offset, left);
}

// All parts become one that lies in memory and has room for what is still to come.
void RelayParts::collapse() {
    auto bytes = std::make_unique_for_overwrite<std::byte[]>(length_);
    for (ReadPart& part : parts_) {
        std::byte* to = bytes.get() + (part.offset - offset_);
        whole_ = whole_ && copy_out(part, to);
    }
    parts_.clear();
    ReadPart& all = parts_.emplace_back();
    all.place = ReadPart::Place::memory;
    all.offset = offset_;
    all.length = length_;
    all.bytes = std::move(bytes);
    collapsed_ = true;
}

bool RelayParts::copy_out(ReadPart& part, std::byte* to) {
    switch (part.place) {
        case ReadPart::Place::hole:
            std::memset(to, 0, part.length);
            return true;
        case ReadPart::Place::pipe: {
            if (part.head > 0) {
                std::memcpy(to, part.bytes.get(), part.head);
            }
            std::uint32_t at = part.head;
            while (at < part.length) {
                const ssize_t n = part.pipe.read_into(to + at, part.length - at);
                if (n <= 0) {
                    return false;
                }
                at += static_cast<std::uint32_t>(n);
            }
            return true;
        }
        default:
            std::memcpy(to, part.bytes.get(), part.length);
            return true;
    }
}

}  // namespace signpost
