// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/disk_start.h"

#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <memory>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

struct Close {
    void operator()(nbd_handle* handle) const { nbd_close(handle); }
};

}  // namespace

Result<std::vector<std::byte>> read_disk_start(const NbdUri& disk) {
    const std::unique_ptr<nbd_handle, Close> handle(nbd_create());
    const auto failed = [&] {
        return fail(Errc::unavailable,
                    fmt::format("{}: {}; is signpostd running there? `signpost where {} --check` "
                                "says which server is away",
                                escaped(disk.str()), escaped(nbd_get_error(), 400),
                                escaped(disk.export_name)));
    };
    if (!handle || nbd_connect_uri(handle.get(), disk.str().c_str()) != 0) {
        return failed();
    }
    const std::int64_t size = nbd_get_size(handle.get());
    if (size < 0) {
        return failed();
    }
    std::vector<std::byte> start(std::min<std::size_t>(kDiskStart, static_cast<std::size_t>(size)));
    if (!start.empty() && nbd_pread(handle.get(), start.data(), start.size(), 0, 0) != 0) {
        return failed();
    }
    return start;
}

}  // namespace signpost
