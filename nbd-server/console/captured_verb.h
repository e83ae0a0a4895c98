// SPDX-License-Identifier: BSD-3-Clause
//
// What `signpost --json VERB` would print here, without the command: the verb is carried out on
// this thread, and what it says is kept. So the console's answers and the command's are one.
//
// Threads: any; each call is on its own.

#pragma once

#include <string>

#include "cli/invocation.h"

namespace signpost {

struct CapturedVerb {
    ExitCode code = ExitCode::ok;
    std::string output;   // JSON
    std::string message;  // of a failure
};

CapturedVerb run_captured(const Options& options, const InfoVerb& verb);
CapturedVerb run_captured(const Options& options, const ExplainVerb& verb);
CapturedVerb run_captured(const Options& options, const DoctorVerb& verb);

}  // namespace signpost
