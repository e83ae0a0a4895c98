// SPDX-License-Identifier: BSD-3-Clause
//
// NBD URIs: what is accepted names one TCP or Unix endpoint and nothing else, and is read back from
// its own text as the same.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>

#include "catalog/disk_name.h"
#include "catalog/nbd_uri.h"
#include "catalog/row_check.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

void check_accepted(const signpost::NbdUri& uri) {
    require(uri.is_unix() == uri.host.empty());
    require(uri.host.empty() || uri.host.front() != '-');
    require(!uri.is_unix() || (uri.socket_path.front() == '/' && uri.socket_path.size() < 108));
    require(uri.socket_path.find('\0') == std::string::npos);
    require(uri.port != 0);
    require(uri.export_name.size() <= 4096 && signpost::is_utf8(uri.export_name));
    require(!uri.endpoint().empty());
    const auto again = signpost::NbdUri::parse(uri.str());
    require(again && *again == uri && again->str() == uri.str());
    const auto other = signpost::NbdUri::parse(uri.with_export("local:a/b c?d#e%").str());
    require(other && other->export_name == "local:a/b c?d#e%" &&
            other->endpoint() == uri.endpoint());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto uri = signpost::NbdUri::parse(text);
    if (uri)
        check_accepted(*uri);
    else
        require(uri.error().message.size() < 1024 && signpost::is_utf8(uri.error().message));
    const auto server_uri = signpost::check_server_uri(text);
    require(!server_uri || (uri && server_uri->export_name.empty()));
    return 0;
}
