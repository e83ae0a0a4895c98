// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_fingerprint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <iterator>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

constexpr std::size_t kDigits = 32;
constexpr std::size_t kLength = 2 + kDigits;
constexpr std::string_view kMark = "fingerprint=";

std::string time_text(const struct statx_timestamp& time) {
    return fmt::format("{}.{}", time.tv_sec, time.tv_nsec);
}

Result<std::string> facts_of(int fd, bool writable) {
    struct statx file {};
    constexpr unsigned kWanted = STATX_BASIC_STATS | STATX_BTIME;
    if (::statx(fd, "", AT_EMPTY_PATH, kWanted, &file) != 0) {
        return fail(Errc::io, fmt::format("cannot examine an image file: {}", error_text(errno)));
    }
    std::string facts = fmt::format("{} {}", file.stx_ino, time_text(file.stx_btime));
    if (writable) {
        return facts + fmt::format(" {}:{}\n", file.stx_dev_major, file.stx_dev_minor);
    }
    std::uint64_t size = file.stx_size;
    if (S_ISBLK(file.stx_mode)) {
        facts += fmt::format(" {}:{}", file.stx_rdev_major, file.stx_rdev_minor);
        if (::ioctl(fd, BLKGETSIZE64, &size) != 0) {
            return fail(Errc::io,
                        fmt::format("cannot learn a device's size: {}", error_text(errno)));
        }
    }
    return facts +
           fmt::format(" {} {} {}\n", size, time_text(file.stx_mtime), time_text(file.stx_ctime));
}

bool is_fingerprint(std::string_view text) {
    return text.size() == kLength && (text.starts_with("r-") || text.starts_with("w-")) &&
           text.find_first_not_of("0123456789abcdef", 2) == std::string_view::npos;
}

}  // namespace

Result<std::string> image_fingerprint(std::span<const int> fds, bool writable) {
    std::string facts;
    for (const int fd : fds) {
        auto more = facts_of(fd, writable);
        if (!more) {
            return more;
        }
        facts += *more;
    }
    std::array<unsigned char, 32> digest{};
    if (::gnutls_hash_fast(GNUTLS_DIG_SHA256, facts.data(), facts.size(), digest.data()) != 0) {
        return fail(Errc::io, "cannot compute an image's fingerprint: GnuTLS has no SHA-256");
    }
    std::string text = writable ? "w-" : "r-";
    for (std::size_t i = 0; i < kDigits / 2; ++i) {
        fmt::format_to(std::back_inserter(text), "{:02x}", digest[i]);
    }
    return text;
}

std::string describe_with_fingerprint(std::string_view text, std::string_view fingerprint) {
    return fmt::format("{} {}{}", text, kMark, fingerprint);
}

// The last word only: whatever comes before is free text.
std::optional<std::string> fingerprint_in(std::string_view description) {
    std::string_view word = description.substr(description.rfind(' ') + 1);
    if (!word.starts_with(kMark)) {
        return std::nullopt;
    }
    word.remove_prefix(kMark.size());
    return is_fingerprint(word) ? std::optional(std::string(word)) : std::nullopt;
}

}  // namespace signpost
