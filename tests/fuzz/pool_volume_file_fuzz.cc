// SPDX-License-Identifier: BSD-3-Clause
//
// Files of volumes. An even first byte: the rest is the file. An odd one: terms from the input make
// a volume, and what is left of the input says which of its bytes are changed. A file is pristine
// when it is to the byte what its own terms make, and never else.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "libvirt-pool/volume_file.h"

namespace {

constexpr const char* kFile = "a.qcow2";
constexpr const char* kAgain = "b.qcow2";
constexpr std::uint64_t kEnoughToSee = 4 * 65536;  // all of a volume of up to 4 TiB

void require(bool holds) {
    if (!holds)
        abort();
}

// Where the files are, for as long as the process lives.
class Place {
   public:
    Place() {
        require(::mkdtemp(path_.data()) != nullptr);
        directory_ = signpost::UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        require(static_cast<bool>(directory_));
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { std::filesystem::remove_all(path_); }

    int directory() const { return directory_.get(); }

    signpost::UniqueFd open(const char* file) const {
        signpost::UniqueFd fd(::openat(directory_.get(), file, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        require(static_cast<bool>(fd));
        return fd;
    }

   private:
    std::string path_ = std::filesystem::temp_directory_path() / "signpost-fuzz-XXXXXX";
    signpost::UniqueFd directory_;
};

class Input {
   public:
    explicit Input(std::span<const std::uint8_t> left) : left_(left) {}

    bool empty() const { return left_.empty(); }
    std::span<const std::uint8_t> rest() const { return left_; }

    // Zeroes where the input has ended.
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t value = 0;
        for (; bytes > 0; --bytes) {
            value = value << 8 | (left_.empty() ? 0 : left_.front());
            left_ = left_.subspan(left_.empty() ? 0 : 1);
        }
        return value;
    }

    std::string text(std::size_t bytes) {
        const auto taken = left_.first(std::min(bytes, left_.size()));
        left_ = left_.subspan(taken.size());
        return {taken.begin(), taken.end()};
    }

   private:
    std::span<const std::uint8_t> left_;
};

std::string content(int fd) {
    std::string bytes(kEnoughToSee, '\0');
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return bytes;
}

off_t size_of(int fd) {
    struct stat status {};
    require(::fstat(fd, &status) == 0);
    return status.st_size;
}

// FD is of kFile.
void check(const Place& place, int fd) {
    const auto facts = signpost::inspect_volume(place.directory(), kFile);
    require(facts && facts->terms.backing.size() <= signpost::kMaxBacking);
    const auto made = signpost::replace_volume(place.directory(), kAgain, facts->terms);
    if (facts->state == signpost::VolumeState::damaged)
        require(!made && facts->terms == signpost::VolumeTerms());
    const signpost::UniqueFd again = place.open(kAgain);
    const bool same =
        made && size_of(fd) == size_of(again.get()) && content(fd) == content(again.get());
    const bool all_seen = size_of(fd) <= static_cast<off_t>(kEnoughToSee);
    const bool pristine = facts->state == signpost::VolumeState::pristine;
    require(pristine ? same : !same || !all_seen);
}

void check_file(const Place& place, Input input) {
    const signpost::UniqueFd fd = place.open(kFile);
    const auto bytes = input.rest();
    require(::ftruncate(fd.get(), 0) == 0);
    require(::pwrite(fd.get(), bytes.data(), bytes.size(), 0) ==
            static_cast<ssize_t>(bytes.size()));
    // Else nothing that is as short as an input has a whole page.
    require(::ftruncate(fd.get(), static_cast<off_t>(bytes.size() / 64 * 4096)) == 0);
    check(place, fd.get());
}

void check_changed(const Place& place, Input input) {
    const std::uint64_t size = input.number(3) << (9 + input.number(1) % 32);
    const std::string backing = input.text(input.number(1) % 2 * 768 + input.number(1));
    const auto made = signpost::replace_volume(place.directory(), kFile, {size, backing});
    if (!made) {
        require(made.error().code == signpost::Errc::invalid);
        return;
    }
    const signpost::UniqueFd fd = place.open(kFile);
    while (!input.empty()) {
        const auto at = static_cast<off_t>(input.number(1) % 4 * 65536 + input.number(2) % 4100);
        const auto byte = static_cast<std::uint8_t>(input.number(1));
        require(::pwrite(fd.get(), &byte, 1, at) == 1);
    }
    check(place, fd.get());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Place place;
    Input input({data, size});
    if (input.number(1) % 2 == 0)
        check_file(place, input);
    else
        check_changed(place, input);
    return 0;
}
