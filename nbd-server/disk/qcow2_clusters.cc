// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qcow2_clusters.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

constexpr std::size_t kMostKept = 8 << 20;  // bytes
constexpr int kWindowBits = 12;             // of QEMU's deflate streams, which have no header
constexpr int kWindowLog = 24;              // of zstd: a frame must not ask for more memory

// FROM may be longer than the stream. True: it gave all of TO.
bool inflate_all(std::span<const std::byte> from, std::span<std::byte> to) {
    z_stream stream{};
    if (inflateInit2(&stream, -kWindowBits) != Z_OK) {
        return false;
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
    stream.avail_in = static_cast<uInt>(from.size());
    stream.next_out = reinterpret_cast<Bytef*>(to.data());
    stream.avail_out = static_cast<uInt>(to.size());
    const int end = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return stream.avail_out == 0 && (end == Z_STREAM_END || end == Z_BUF_ERROR);
}

bool unzstd_all(std::span<const std::byte> from, std::span<std::byte> to) {
    thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(
        ZSTD_createDCtx(), ZSTD_freeDCtx);
    if (context == nullptr ||
        ZSTD_isError(ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only)) != 0 ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog)) != 0) {
        return false;
    }
    ZSTD_inBuffer in{from.data(), from.size(), 0};
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    while (out.pos < out.size) {
        const std::size_t before = in.pos + out.pos;
        const std::size_t left = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(left) != 0 || (left != 0 && in.pos + out.pos == before)) {
            return false;
        }
        if (left == 0) {
            break;
        }
    }
    return out.pos == out.size;
}

Result<std::vector<std::byte>> read_packed(int fd, const Qcow2Run& run) {
    std::vector<std::byte> bytes(run.packed_bytes);
    std::size_t got = 0;
    while (got < bytes.size()) {
        const ssize_t n =
            ::pread(fd, bytes.data() + got, bytes.size() - got, static_cast<off_t>(run.at + got));
        if (n == 0) {
            break;  // the last sector of the file need not be whole
        }
        if (n < 0 && errno != EINTR) {
            return fail(Errc::io, fmt::format("cannot be read: {}", error_text(errno)));
        }
        got += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    bytes.resize(got);
    return bytes;
}

}  // namespace

Qcow2Clusters::Bytes Qcow2Clusters::known(const Qcow2Run& run) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(
        kept_, [&](const Kept& kept) { return kept.at == run.at && kept.file == run.file; });
    if (found == kept_.end()) {
        return nullptr;
    }
    kept_.splice(kept_.begin(), kept_, found);
    return found->bytes;
}

Result<Qcow2Clusters::Bytes> Qcow2Clusters::get(const Wanted& wanted) {
    if (auto bytes = known(wanted.run)) {
        return bytes;
    }
    const auto packed = read_packed(wanted.file.fd, wanted.run);
    if (!packed) {
        return std::unexpected(packed.error());
    }
    const Qcow2Geometry& geometry = wanted.file.tables->geometry();
    auto bytes = std::make_shared<std::vector<std::byte>>(geometry.cluster());
    const bool good = geometry.compression == Qcow2Compression::zlib ? inflate_all(*packed, *bytes)
                                                                     : unzstd_all(*packed, *bytes);
    if (!good) {
        return fail(Errc::io, fmt::format("has a compressed cluster at {} that does not unpack",
                                          wanted.run.at));
    }
    const std::lock_guard lock(mutex_);
    kept_.push_front({wanted.run.file, wanted.run.at, bytes});
    kept_bytes_ += bytes->size();
    while (kept_bytes_ > kMostKept && kept_.size() > 1) {
        kept_bytes_ -= kept_.back().bytes->size();
        kept_.pop_back();
    }
    return Bytes(bytes);
}

}  // namespace signpost
