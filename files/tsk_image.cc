// SPDX-License-Identifier: BSD-3-Clause

#include "files/tsk_image.h"

#include <utility>

namespace signpost::files {

namespace {

constexpr unsigned kSector = 512;

}  // namespace

TskImage::TskImage(DiskLink& link, Volume volume) : link_(link), volume_(volume) {
    seen_.image = this;
    ::tsk_img_open_external(
        &seen_, static_cast<TSK_OFF_T>(volume.length), kSector, &TskImage::read,
        [](TSK_IMG_INFO*) {}, [](TSK_IMG_INFO*, FILE*) {});
}

TskImage::~TskImage() {
    ::tsk_img_close(&seen_.info);
}

ssize_t TskImage::read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* to, std::size_t length) {
    TskImage& image = *reinterpret_cast<Seen*>(info)->image;
    const auto begin = static_cast<std::uint64_t>(offset);
    if (offset < 0 || begin >= image.volume_.length) {
        return -1;
    }
    length = std::min<std::uint64_t>(length, image.volume_.length - begin);
    if (!image.link_.read(image.volume_.start + begin, {to, length})) {
        image.read_error_ = true;
        return -1;
    }
    return static_cast<ssize_t>(length);
}

bool TskImage::take_read_error() {
    return std::exchange(read_error_, false);
}

std::string tsk_trouble() {
    const char* text = ::tsk_error_get();
    std::string trouble = text != nullptr ? text : "the file system cannot be read";
    ::tsk_error_reset();
    return trouble;
}

}  // namespace signpost::files
