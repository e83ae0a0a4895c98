// SPDX-License-Identifier: BSD-3-Clause
//
// FaultServer is an NBD server over real sockets, in the test's own process, that fails on command:
// it freezes, drips, dies, lies, refuses, and forgets what was not flushed. It serves one disk from
// memory under any export name.
//
// Threads: one that accepts, one for each connection; commands may come from the test's thread.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "catalog/nbd_uri.h"
#include "nbd-server/disk/unique_fd.h"
#include "tests/unit/disk/fault_replies.h"

namespace signpost::test {

using Bytes = std::vector<std::byte>;

// SIZE bytes that differ by position and seed, with zeros here and there.
Bytes pattern(std::size_t size, unsigned seed);

class FaultServer {
   public:
    struct Manners {
        bool read_only = true;
        bool multi_conn = true;
        bool structured = true;
        bool allocation_context = true;
        bool has_fua = true;
        bool has_flush = true;
        bool has_zeroes = true;
        bool has_trim = true;
        bool unknown_export = false;
        std::uint64_t claimed_size = 0;  // 0: the true one
        std::uint32_t minimum_block = 1;
        std::uint32_t maximum_payload = 32 * 1024 * 1024;
        std::string description = {};
        std::uint32_t read_error = 0;   // NBD error for every read
        std::uint32_t write_error = 0;  // and for whatever changes the content
        int drip_bytes_per_tick = 0;    // payload leaves so slowly; 0: at once
        ReadReply reply = ReadReply::plain;
        std::chrono::milliseconds read_takes{0};  // a far, or slow server
    };

    explicit FaultServer(Bytes content);
    FaultServer(Bytes content, Manners manners);
    ~FaultServer();

    NbdUri uri() const;
    Bytes content() const;
    void set_manners(Manners manners);

    // Requests are read but not answered, new connections are accepted but not greeted, until
    // thaw().
    void freeze();
    void thaw();

    // Closes every connection and the listener, as a killed process does; writes that were not
    // flushed are forgotten. start() listens again on the same port.
    void kill();
    void start();

    // Closes the connections only.
    void cut();

    int connections() const { return connections_; }  // accepted so far
    int requests() const { return requests_; }        // received so far
    int reads() const { return reads_; }              // of them reads
    int farewells() const { return farewells_; }      // connections that ended with DISC
    int untaken() const { return untaken_; }          // answers to reads that nobody took
    int answered() const { return answered_; }        // answers to reads that left
    std::vector<std::string> exports_asked() const;

    // Waits until N requests in all have come in; false after ten seconds.
    bool wait_for_requests(int n);

   private:
    struct Connection {
        UniqueFd fd;
        std::thread thread;
        std::atomic<bool> ended{false};
    };

    void accept_loop();
    void serve(int fd);
    bool negotiate(int fd);
    bool option(int fd, std::uint32_t option, const std::string& data, bool& done);
    bool go(int fd, std::uint32_t option, const std::string& data, bool& done);
    bool transmit(int fd);
    bool answer(int fd, std::uint16_t flags, std::uint16_t command, std::uint64_t cookie,
                std::uint64_t offset, std::uint32_t length);
    bool reply_read(int fd, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length);
    std::uint32_t apply(std::uint16_t flags, std::uint16_t command, std::uint64_t offset,
                        std::uint32_t length, const Bytes& payload);
    bool pass_freeze();
    std::uint16_t flags() const;

    mutable std::mutex mutex_;  // guards all that is not atomic
    std::condition_variable changed_;
    Bytes content_;
    Bytes durable_;
    Manners manners_;
    bool frozen_ = false;
    bool dead_ = false;
    std::uint16_t port_ = 0;
    UniqueFd listener_;
    std::thread acceptor_;
    std::list<Connection> open_;
    std::vector<std::string> asked_;
    std::atomic<int> connections_{0};
    std::atomic<int> requests_{0};
    std::atomic<int> reads_{0};
    std::atomic<int> farewells_{0};
    std::atomic<int> untaken_{0};
    std::atomic<int> answered_{0};
};

}  // namespace signpost::test
