// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/outcome.h"

namespace signpost {

namespace {

ExitCode catalog_exit_code(Errc code) {
    switch (code) {
        case Errc::invalid:
            return ExitCode::usage;
        case Errc::not_found:
            return ExitCode::no_such_disk;
        case Errc::conflict:
            return ExitCode::conflict;
        case Errc::denied:
            return ExitCode::denied;
        case Errc::unavailable:
        case Errc::corrupt:
        case Errc::too_new:
        case Errc::io:
            return ExitCode::catalog_unreachable;
        case Errc::full:
            break;
    }
    return ExitCode::failed;
}

ExitCode peer_exit_code(Errc code) {
    switch (code) {
        case Errc::unavailable:
            return ExitCode::peer_unreachable;
        case Errc::not_found:
            return ExitCode::no_such_disk;
        case Errc::denied:
            return ExitCode::denied;
        case Errc::conflict:
            return ExitCode::conflict;
        case Errc::invalid:
        case Errc::corrupt:
        case Errc::too_new:
        case Errc::io:
        case Errc::full:
            break;
    }
    return ExitCode::failed;
}

}  // namespace

Failure catalog_failure(const Error& error) {
    return {catalog_exit_code(error.code), error.message};
}

Failure peer_failure(const Error& error) {
    return {peer_exit_code(error.code), error.message};
}

}  // namespace signpost
