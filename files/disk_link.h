// SPDX-License-Identifier: BSD-3-Clause
//
// DiskLink is the file reader's one way out: the socket to the command. Questions come in by it,
// answers go out, and the bytes of the disk are had by asking for them.
//
// A command that went away, or that says what it must not, ends the process: nobody is left to be
// told. Threads: one.

#pragma once

#include <span>

#include "files/messages.h"

namespace signpost::files {

class DiskLink {
   public:
    explicit DiskLink(int socket) : socket_(socket) {}
    DiskLink(const DiskLink&) = delete;
    DiskLink& operator=(const DiskLink&) = delete;

    std::uint64_t size() const { return size_; }

    // The next question, Supply never among them. Begin is taken here.
    Question next();

    void say(const Answer& answer);

    // Bytes of the disk; false: they cannot be read.
    bool read(std::uint64_t offset, std::span<char> to);

    // They will be read soon.
    void ahead(std::vector<Range> ranges);

   private:
    Question receive();
    void send(std::string_view bytes);
    void flush();

    int socket_;
    std::uint64_t size_ = 0;
    std::string in_;   // the frame that was received last
    std::string out_;  // answers that wait for more of them
};

}  // namespace signpost::files
