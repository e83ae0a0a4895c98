// SPDX-License-Identifier: BSD-3-Clause
//
// What tests of relayed disks share: an engine with short limits, and requests that wait.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/relayed_disk.h"
#include "tests/unit/disk/collecting_sink.h"
#include "tests/unit/disk/fault_server.h"
#include "tests/unit/disk/kept_log.h"

namespace signpost::test {

// A tenth of the real ones, so that a test that waits for one is short.
inline RelayLimits short_limits() {
    using std::chrono::milliseconds;
    RelayLimits limits;
    limits.connect = milliseconds{500};
    limits.handshake = milliseconds{700};
    limits.hedge = milliseconds{300};
    limits.hang = milliseconds{700};
    limits.request = milliseconds{3000};
    return limits;
}

inline Upstream upstream_of(const FaultServer& server, const std::string& name,
                            const std::string& digest = "") {
    Upstream upstream;
    upstream.location.server = name;
    upstream.location.export_name = "disk";
    upstream.location.size = server.content().size();
    upstream.location.generation = 5;
    upstream.location.digest = digest;
    upstream.uris = {server.uri()};
    return upstream;
}

// A read at a place and of a length (up to LONGEST) that STATE decides; true when it brings what
// CONTENT has there.
inline bool random_read(Disk& disk, const Bytes& content, std::uint64_t& state,
                        std::uint64_t longest) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t length = 1 + (state >> 33) % longest;
    const std::uint64_t offset = (state >> 20) % (content.size() - length);
    Bytes buffer(length);
    Request request;
    request.offset = offset;
    request.length = length;
    request.buffer = buffer.data();
    return submit_and_wait(disk, request) == 0 &&
           std::memcmp(buffer.data(), content.data() + offset, length) == 0;
}

// As random_read(), but taken part by part.
inline bool random_read_parts(Disk& disk, const Bytes& content, std::uint64_t& state,
                              std::uint64_t longest) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t length = 1 + (state >> 33) % longest;
    const std::uint64_t offset = (state >> 20) % (content.size() - length);
    CollectingSink sink(*disk.home_loop(), offset, length);
    Request request;
    request.offset = offset;
    request.length = length;
    request.sink = &sink;
    return submit_and_wait(disk, request) == 0 && sink.matches(content);
}

class RelayTest : public testing::Test {
   protected:
    RelayTest() { restart_engine(short_limits()); }

    void restart_engine(const RelayLimits& limits) {
        RelaySettings settings;
        settings.limits = limits;
        restart_engine(settings);
    }

    void restart_engine(const RelaySettings& settings) {
        disk_.reset();
        engine_.reset();
        engine_ = std::move(*make_relay_engine(settings, log_));
    }

    void open(std::vector<Upstream> upstreams, bool read_only = true) {
        plan_.traits.size = upstreams.front().location.size;
        plan_.traits.read_only = read_only;
        plan_.upstreams = std::move(upstreams);
        disk_ = make_relayed_disk(*engine_, plan_);
    }

    int read(std::uint64_t offset, std::uint64_t length) {
        Request request;
        request.offset = offset;
        request.length = length;
        buffer_.assign(length, std::byte{0xee});
        request.buffer = buffer_.data();
        return submit_and_wait(*disk_, request);
    }

    int write(std::uint64_t offset, Bytes data, std::uint8_t flags = 0) {
        Request request;
        request.op = Op::write;
        request.flags = flags;
        request.offset = offset;
        request.length = data.size();
        request.buffer = data.data();
        return submit_and_wait(*disk_, request);
    }

    int run(Op op, std::uint64_t offset = 0, std::uint64_t length = 0, std::uint8_t flags = 0) {
        Request request;
        request.op = op;
        request.flags = flags;
        request.offset = offset;
        request.length = length;
        extents_.clear();
        request.extents = &extents_;
        return submit_and_wait(*disk_, request);
    }

    // As read(), but taken part by part; see parts_.
    int read_parts(std::uint64_t offset, std::uint64_t length) {
        parts_.emplace(*disk_->home_loop(), offset, length);
        Request request;
        request.offset = offset;
        request.length = length;
        request.sink = &*parts_;
        return submit_and_wait(*disk_, request);
    }

    // The last read brought what CONTENT has there.
    bool matches(const Bytes& content, std::uint64_t offset) const {
        return std::memcmp(buffer_.data(), content.data() + offset, buffer_.size()) == 0;
    }

    KeptLog log_;
    std::unique_ptr<RelayEngine> engine_;
    RelayPlan plan_{.disk = *DiskName::parse("web01/vda"),
                    .traits = {},
                    .upstreams = {},
                    .ask_again = {},
                    .before_first_write = {}};
    std::shared_ptr<Disk> disk_;
    Bytes buffer_;
    std::optional<CollectingSink> parts_;
    std::vector<Extent> extents_;
};

}  // namespace signpost::test
