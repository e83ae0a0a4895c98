// SPDX-License-Identifier: BSD-3-Clause
//
// The console's page, as it was built in: one file, with its script and its style in it, and
// nothing that it loads but this server's own answers.
//
// Constant. Threads: any.

#pragma once

#include <string>
#include <string_view>

namespace signpost {

// page/index.html
std::string_view page_html();

// The Content-Security-Policy under which just the scripts and styles that PAGE has in it run.
std::string page_policy(std::string_view page);

}  // namespace signpost
