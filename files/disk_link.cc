// SPDX-License-Identifier: BSD-3-Clause

#include "files/disk_link.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace signpost::files {

namespace {

constexpr std::size_t kGather = 64 * 1024;  // entries are small, and there may be many

[[noreturn]] void leave() {
    ::_exit(0);
}

void read_whole(int socket, char* to, std::size_t length) {
    while (length > 0) {
        const ssize_t got = ::read(socket, to, length);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            leave();
        }
        if (got > 0) {
            to += got;
            length -= static_cast<std::size_t>(got);
        }
    }
}

}  // namespace

Question DiskLink::receive() {
    flush();
    std::string head(kFrameHead, '\0');
    read_whole(socket_, head.data(), head.size());
    // A head alone is never a whole frame: only its length is looked at here.
    std::size_t length = 0;
    for (const char byte : head) {
        length = length << 8 | static_cast<unsigned char>(byte);
    }
    if (length == 0 || length > kMaxFrame) {
        leave();
    }
    in_.resize(length);
    read_whole(socket_, in_.data(), length);
    auto question = decode_question(in_);
    if (!question) {
        leave();
    }
    return std::move(*question);
}

Question DiskLink::next() {
    Question question = receive();
    while (const auto* begin = std::get_if<Begin>(&question)) {
        size_ = begin->size;
        question = receive();
    }
    if (std::holds_alternative<Supply>(question)) {
        leave();
    }
    return question;
}

void DiskLink::say(const Answer& answer) {
    out_ += encode(answer);
    if (out_.size() >= kGather || std::holds_alternative<End>(answer)) {
        flush();
    }
}

void DiskLink::flush() {
    send(out_);
    out_.clear();
}

void DiskLink::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(socket_, bytes.data(), bytes.size());
        if (sent < 0 && errno != EINTR) {
            leave();
        }
        bytes.remove_prefix(sent > 0 ? static_cast<std::size_t>(sent) : 0);
    }
}

bool DiskLink::read(std::uint64_t offset, std::span<char> to) {
    if (offset > size_ || to.size() > size_ - offset) {
        return false;
    }
    while (!to.empty()) {
        const std::size_t length = std::min(to.size(), kMaxRead);
        say(Want{offset, static_cast<std::uint32_t>(length)});
        const Question answer = receive();
        const auto* supply = std::get_if<Supply>(&answer);
        if (supply == nullptr || (supply->error == 0 && supply->bytes.size() != length)) {
            leave();
        }
        if (supply->error != 0) {
            return false;
        }
        std::memcpy(to.data(), supply->bytes.data(), length);
        offset += length;
        to = to.subspan(length);
    }
    return true;
}

void DiskLink::ahead(std::vector<Range> ranges) {
    say(Ahead{std::move(ranges)});
}

}  // namespace signpost::files
