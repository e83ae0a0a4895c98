// SPDX-License-Identifier: BSD-3-Clause
//
// Image headers made of anything. The first byte chooses the format, the rest is the file: once as
// it is, and once spread out, so that formats which look at far places need no large input. A
// reader must not ask for bytes outside the file, must end after a bounded number of reads, and
// must give a possible size.

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "nbd-server/disk/image_header.h"

namespace {

constexpr std::uint64_t kFileSize = std::uint64_t{3} << 20;
constexpr int kMaxReads = 512;

// A file of SIZE bytes in windows of 64 KiB; each shows the input from 512 bytes further on than
// the one before, and zeros where it ends.
class SpreadFile {
   public:
    SpreadFile(std::span<const std::uint8_t> input, std::uint64_t size)
        : input_(input), size_(size) {}

    signpost::Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) {
        if (offset > size_ || out.size() > size_ - offset || ++reads_ > kMaxReads) {
            std::abort();
        }
        constexpr std::uint64_t kWindow = 65536;
        while (!out.empty()) {
            const std::uint64_t inside = offset % kWindow;
            const auto run = std::min<std::uint64_t>(kWindow - inside, out.size());
            const std::uint64_t from =
                std::min<std::uint64_t>(offset / kWindow * 512 + inside, input_.size());
            const auto known = std::min(run, input_.size() - from);
            if (known > 0) {
                std::memcpy(out.data(), input_.data() + from, known);
            }
            std::fill_n(out.data() + known, run - known, std::byte{0});
            out = out.subspan(run);
            offset += run;
        }
        return {};
    }

   private:
    std::span<const std::uint8_t> input_;
    std::uint64_t size_;
    int reads_ = 0;
};

void check(signpost::ImageFormat format, std::span<const std::uint8_t> input, std::uint64_t size) {
    SpreadFile file(input, size);
    const auto header = signpost::read_image_header(
        format, {.size = size, .read_at = [&](std::uint64_t offset, std::span<std::byte> out) {
                     return file.read_at(offset, out);
                 }});
    if (header) {
        const auto& backing = header->backing;
        const bool long_name = backing && (backing->file.empty() || backing->file.size() > 1023);
        if (header->size > signpost::kMaxImageSize || long_name) {
            std::abort();
        }
    } else if (header.error().message.empty() ||
               header.error().message.find('\n') != std::string::npos) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
    if (length == 0) {
        return 0;
    }
    constexpr auto kFormats = std::to_array(
        {signpost::ImageFormat::raw, signpost::ImageFormat::qcow2, signpost::ImageFormat::vmdk,
         signpost::ImageFormat::vhdx, signpost::ImageFormat::vdi, signpost::ImageFormat::vpc});
    const std::span<const std::uint8_t> input(data + 1, length - 1);
    const auto format = kFormats[data[0] % kFormats.size()];
    check(format, input, kFileSize);
    check(format, input, std::min<std::uint64_t>(input.size(), 65536));
    return 0;
}
