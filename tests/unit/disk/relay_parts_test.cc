// SPDX-License-Identifier: BSD-3-Clause
//
// The parts of the relay that need no server: circuit breaker, write log, peer addresses, workers.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "nbd-server/disk/circuit_breaker.h"
#include "nbd-server/disk/peer_address.h"
#include "nbd-server/disk/worker_pool.h"
#include "nbd-server/disk/write_log.h"

namespace signpost {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const CircuitBreaker::Time kStart = std::chrono::steady_clock::now();

TEST(CircuitBreaker, LetsEverybodyDialAHealthyPeer) {
    CircuitBreaker breaker(1);
    EXPECT_TRUE(breaker.may_dial(kStart));
    EXPECT_TRUE(breaker.may_dial(kStart));
}

TEST(CircuitBreaker, HoldsDialsBackAfterAFailure) {
    CircuitBreaker breaker(1);
    breaker.failed(kStart);
    EXPECT_FALSE(breaker.may_dial(kStart));
    EXPECT_TRUE(breaker.may_dial(kStart + seconds{1}));
}

TEST(CircuitBreaker, LetsOneProbeThroughAtATime) {
    CircuitBreaker breaker(1);
    breaker.failed(kStart);
    EXPECT_TRUE(breaker.may_dial(kStart + seconds{1}));
    EXPECT_FALSE(breaker.may_dial(kStart + seconds{1}));
    breaker.withdrawn();
    EXPECT_TRUE(breaker.may_dial(kStart + seconds{1}));
}

TEST(CircuitBreaker, MayBeHastened) {
    CircuitBreaker breaker(1);
    breaker.failed(kStart);
    breaker.hasten(kStart);
    EXPECT_TRUE(breaker.may_dial(kStart));
    EXPECT_FALSE(breaker.may_dial(kStart));
}

TEST(CircuitBreaker, ClosesAfterASuccess) {
    CircuitBreaker breaker(1);
    breaker.failed(kStart);
    breaker.succeeded();
    EXPECT_TRUE(breaker.may_dial(kStart));
    EXPECT_FALSE(breaker.open());
}

TEST(CircuitBreaker, NeverHoldsBackForMoreThanASecond) {
    for (std::uint32_t seed = 0; seed < 100; ++seed) {
        CircuitBreaker breaker(seed);
        for (int failure = 0; failure < 20; ++failure) {
            breaker.failed(kStart);
            ASSERT_TRUE(breaker.would_dial(kStart + seconds{1}));
        }
    }
}

TEST(CircuitBreaker, DialsADeadPeerAtMostTwiceASecond) {
    CircuitBreaker breaker(7);
    int dials = 0;
    for (milliseconds at{0}; at < seconds{20}; at += milliseconds{10}) {
        if (breaker.may_dial(kStart + at)) {
            ++dials;
            breaker.failed(kStart + at);
        }
    }
    EXPECT_LE(dials, 42);
    EXPECT_GE(dials, 20);
}

TEST(WriteLog, KeepsWhatNoFlushCovers) {
    WriteLog log;
    const auto first = log.append({.command = wire::Command::write, .offset = 1});
    log.acknowledge(first);
    const std::uint64_t flush = log.flush_begins();
    const auto late = log.append({.command = wire::Command::write, .offset = 2});
    log.acknowledge(late);
    log.append({.command = wire::Command::write, .offset = 3});
    log.flush_succeeded(flush);
    ASSERT_EQ(log.entries().size(), 2U);
    EXPECT_EQ(log.entries().front().offset, 2U);
}

TEST(WriteLog, CountsItsBytes) {
    WriteLog log;
    const auto payload = std::make_shared<const std::vector<std::byte>>(1000);
    const auto entry = log.append({.command = wire::Command::write, .payload = payload});
    EXPECT_GE(log.bytes(), 1000U);
    log.drop(entry);
    EXPECT_EQ(log.bytes(), 0U);
    EXPECT_TRUE(log.empty());
}

PeerAddress address_of(const char* text) {
    PeerAddress address;
    sockaddr_in ipv4{};
    sockaddr_in6 ipv6{};
    if (::inet_pton(AF_INET, text, &ipv4.sin_addr) == 1) {
        ipv4.sin_family = AF_INET;
        std::memcpy(&address.storage, &ipv4, sizeof ipv4);
        address.length = sizeof ipv4;
    } else {
        EXPECT_EQ(::inet_pton(AF_INET6, text, &ipv6.sin6_addr), 1) << text;
        ipv6.sin6_family = AF_INET6;
        std::memcpy(&address.storage, &ipv6, sizeof ipv6);
        address.length = sizeof ipv6;
    }
    return address;
}

TEST(PeerAddress, ForbidsLinkLocalMulticastAndUnspecified) {
    for (const char* text : {"169.254.169.254", "224.0.0.1", "239.255.255.250", "255.255.255.255",
                             "0.0.0.0", "0.1.2.3", "fe80::1", "ff02::1", "::", "::ffff:169.254.1.1",
                             "::ffff:224.0.0.1", "::169.254.1.1"}) {
        EXPECT_TRUE(is_forbidden_address(address_of(text))) << text;
    }
}

TEST(PeerAddress, AllowsOrdinaryAddresses) {
    for (const char* text : {"127.0.0.1", "10.1.2.3", "192.168.1.1", "169.253.1.1", "223.1.1.1",
                             "::1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"}) {
        EXPECT_FALSE(is_forbidden_address(address_of(text))) << text;
    }
}

TEST(PeerAddress, KnowsWhatNeedsNoResolver) {
    EXPECT_TRUE(resolves_at_once(*NbdUri::parse("nbd://127.0.0.1:10810/x")));
    EXPECT_TRUE(resolves_at_once(*NbdUri::parse("nbd://[::1]/x")));
    EXPECT_TRUE(resolves_at_once(*NbdUri::parse("nbd+unix:///x?socket=/tmp/s")));
    EXPECT_FALSE(resolves_at_once(*NbdUri::parse("nbd://localhost/x")));
}

TEST(PeerAddress, RefusesPrivilegedPortsUnlessAllowed) {
    const NbdUri uri = *NbdUri::parse("nbd://127.0.0.1:22/x");
    EXPECT_EQ(resolve_peer(uri, {}).error().code, Errc::denied);
    EXPECT_TRUE(resolve_peer(uri, {.allow_privileged_ports = true}));
    EXPECT_TRUE(resolve_peer(uri, {.trusted = true}));
}

TEST(PeerAddress, RefusesSocketPathsThatTheKernelCannotHold) {
    NbdUri uri;
    uri.socket_path = "/" + std::string(200, 'a');
    EXPECT_EQ(resolve_peer(uri, {}).error().code, Errc::invalid);
}

TEST(WorkerPool, RunsTasksSideBySide) {
    std::atomic<int> inside{0};
    std::atomic<bool> together{false};
    {
        WorkerPool pool(2);
        std::array<std::atomic<bool>, 2> ended{};
        for (auto& end : ended) {
            pool.run([&] {
                ++inside;
                while (inside < 2) {
                    std::this_thread::yield();
                }
                together = true;
                end = true;
            });
        }
        while (!ended[0] || !ended[1]) {
            std::this_thread::yield();
        }
    }
    EXPECT_TRUE(together);
}

}  // namespace
}  // namespace signpost
