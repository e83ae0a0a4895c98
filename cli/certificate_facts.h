// SPDX-License-Identifier: BSD-3-Clause
//
// What a certificate in a file says of itself, for those who have to renew it in time.
//
// Values; reads the file and nothing else. Threads: any.

#pragma once

#include <cstdint>
#include <string>

#include "catalog/error.h"

namespace signpost {

struct CertificateFacts {
    std::int64_t begins = 0;  // seconds since 1970
    std::int64_t ends = 0;
    bool names_host = false;  // it is good for the host that was asked about
};

// Of the first certificate in the PEM file PATH. not_found, io; invalid: there is none in it.
Result<CertificateFacts> certificate_facts(const std::string& path, const std::string& host);

}  // namespace signpost
