// SPDX-License-Identifier: BSD-3-Clause
//
// libcryptsetup reads files only. So it gets one in memory, as large as the volume and empty but
// for the header and the key slots in use.

#include "files/luks.h"

#include <fmt/format.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/wire/byte_reader.h"

namespace signpost::files {

namespace {

constexpr std::uint64_t kSmallest = 32 * 1024;     // both headers of LUKS2, as they mostly are
constexpr std::uint64_t kLargestHeader = 4 << 20;  // as LUKS2 has them at most; there are two
constexpr std::uint64_t kLargestSlot = 16 << 20;   // of key material; it is 256 KiB, mostly
constexpr std::size_t kLengthOfHeader = 8;         // where LUKS2 says it, behind magic, version
constexpr std::string_view kSecond = {"LUKS\xba\xbe\0\2", 8};

class Volumes {
   public:
    Volumes(DiskLink& link, const Volume& volume)
        : link_(link), volume_(volume), file_(::memfd_create("luks", MFD_CLOEXEC)) {}

    bool make() const {
        return file_ && ::ftruncate(file_.get(), static_cast<off_t>(volume_.length)) == 0;
    }
    std::string path() const { return fmt::format("/proc/self/fd/{}", file_.get()); }

    // Takes a part of the disk into the file.
    bool take(std::uint64_t offset, std::uint64_t length, std::string& bytes) const {
        bytes.resize(std::min(length, volume_.length - std::min(offset, volume_.length)));
        return link_.read(volume_.start + offset, bytes) &&
               ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                   static_cast<ssize_t>(bytes.size());
    }

   private:
    DiskLink& link_;
    Volume volume_;
    UniqueFd file_;
};

struct FreeDevice {
    void operator()(crypt_device* device) const { ::crypt_free(device); }
};
using Device = std::unique_ptr<crypt_device, FreeDevice>;

const End kUnreadable{End::Status::read_error, "the LUKS header cannot be read"};

bool take_header(const Volumes& file) {
    std::string bytes;
    if (!file.take(0, kSmallest, bytes)) {
        return false;
    }
    if (!bytes.starts_with(kSecond)) {
        return true;
    }
    wire::ByteReader reader(std::string_view(bytes).substr(kLengthOfHeader));
    const std::uint64_t length = std::min(reader.take_u64(), kLargestHeader);
    return length <= kSmallest / 2 || file.take(0, 2 * length, bytes);
}

bool take_slots(const Volumes& file, crypt_device* device) {
    std::string bytes;
    const int most = ::crypt_keyslot_max(::crypt_get_type(device));
    for (int slot = 0; slot < most; ++slot) {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        const auto status = ::crypt_keyslot_status(device, slot);
        if ((status == CRYPT_SLOT_ACTIVE || status == CRYPT_SLOT_ACTIVE_LAST) &&
            ::crypt_keyslot_area(device, slot, &offset, &length) == 0 && length <= kLargestSlot &&
            !file.take(offset, length, bytes)) {
            return false;
        }
    }
    return true;
}

// What would have to be read otherwise than sector by sector; empty: nothing.
std::string_view hindrance(crypt_device* device) {
    std::uint32_t needs = 0;
    if (::crypt_persistent_flags_get(device, CRYPT_FLAGS_REQUIREMENTS, &needs) == 0 && needs != 0) {
        return "is being encrypted anew, or needs what is not known";
    }
    crypt_params_integrity integrity{};
    if (::crypt_get_integrity_info(device, &integrity) == 0 && integrity.integrity != nullptr) {
        return "has authentication tags between its sectors";
    }
    return {};
}

// A slot's key, by PASSPHRASE; negative: an errno value.
int take_key(crypt_device* device, std::string_view passphrase, std::string& key) {
    std::array<char, kMaxKey> bytes{};
    std::size_t length = bytes.size();
    const int slot = ::crypt_volume_key_get(device, CRYPT_ANY_SLOT, bytes.data(), &length,
                                            passphrase.data(), passphrase.size());
    key.assign(bytes.data(), slot >= 0 ? length : 0);
    ::explicit_bzero(bytes.data(), bytes.size());
    return slot;
}

int take_key_by_file(crypt_device* device, std::string_view content, std::string& key) {
    int slot = -EPERM;
    if (content.ends_with('\n')) {
        slot = take_key(device, content.substr(0, content.size() - 1), key);
    }
    return slot < 0 ? take_key(device, content, key) : slot;
}

End describe(crypt_device* device, const Volume& volume, Unlocked& found) {
    const std::uint64_t offset = ::crypt_get_data_offset(device) * 512;
    found.sector = static_cast<std::uint32_t>(::crypt_get_sector_size(device));
    if (offset == 0 || offset >= volume.length || found.sector == 0) {
        return {End::Status::unsupported, "the LUKS header is of data that lies elsewhere"};
    }
    const std::uint64_t length = volume.length - offset;
    found.volume = {volume.start + offset, length - length % found.sector};
    found.skipped = ::crypt_get_iv_offset(device);
    found.cipher =
        fmt::format("{}-{}", ::crypt_get_cipher(device), ::crypt_get_cipher_mode(device));
    return {};
}

}  // namespace

End unlock(DiskLink& link, const AskUnlock& question, Unlocked& found) {
    const Volume& volume = question.volume;
    if (volume.start > link.size() || volume.length > link.size() - volume.start) {
        return {End::Status::invalid, "the partition is not on the disk"};
    }
    const Volumes file(link, volume);
    if (!file.make() || !take_header(file)) {
        return kUnreadable;
    }
    crypt_device* opened = nullptr;
    ::crypt_set_log_callback(
        nullptr, [](int, const char*, void*) {}, nullptr);
    ::crypt_metadata_locking(nullptr, 0);  // nobody else has this file
    const int error = ::crypt_init(&opened, file.path().c_str());
    const Device device(opened);
    if (error != 0 || ::crypt_load(device.get(), CRYPT_LUKS, nullptr) != 0) {
        return {End::Status::damaged, "the LUKS header is damaged"};
    }
    if (const std::string_view why = hindrance(device.get()); !why.empty()) {
        return {End::Status::unsupported, fmt::format("the volume {}", why)};
    }
    if (!take_slots(file, device.get())) {
        return kUnreadable;
    }
    const int slot = take_key_by_file(device.get(), question.passphrase, found.key);
    if (slot == -EPERM || slot == -ENOENT) {
        return {End::Status::not_found, "no key slot is opened by this passphrase"};
    }
    if (slot < 0) {
        return {End::Status::damaged,
                fmt::format("the key slots cannot be opened ({}-{}): {}",
                            ::crypt_get_cipher(device.get()), ::crypt_get_cipher_mode(device.get()),
                            std::strerror(-slot))};
    }
    return describe(device.get(), volume, found);
}

}  // namespace signpost::files
