// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/libvirt_error.h"

#include <fmt/format.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

Errc code_of(int code) {
    switch (code) {
        case VIR_ERR_NO_STORAGE_POOL:
        case VIR_ERR_NO_STORAGE_VOL:
        case VIR_ERR_NO_DOMAIN:
            return Errc::not_found;
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_AUTH_UNAVAILABLE:
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_OPERATION_DENIED:
            return Errc::denied;
        case VIR_ERR_NO_CONNECT:
        case VIR_ERR_RPC:
            return Errc::unavailable;
        case VIR_ERR_OPERATION_FAILED:
        case VIR_ERR_DOM_EXIST:
        case VIR_ERR_OPERATION_INVALID:
            return Errc::conflict;
        case VIR_ERR_XML_ERROR:
        case VIR_ERR_INVALID_ARG:
            return Errc::invalid;
        default:
            return Errc::io;
    }
}

}  // namespace

std::unexpected<Error> libvirt_failed(const std::string& what) {
    const virError* error = virGetLastError();
    if (error == nullptr || error->message == nullptr) {
        return fail(Errc::io, what + ": libvirt does not say why");
    }
    const bool away = error->code == VIR_ERR_NO_CONNECT || error->code == VIR_ERR_RPC ||
                      (error->code == VIR_ERR_SYSTEM_ERROR && error->domain == VIR_FROM_RPC);
    return fail(away ? Errc::unavailable : code_of(error->code),
                fmt::format("{}: {}{}", what, escaped(error->message, 500),
                            away ? "; is it running? (systemctl start libvirtd)" : ""));
}

}  // namespace signpost
