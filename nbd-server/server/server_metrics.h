// SPDX-License-Identifier: BSD-3-Clause
//
// What a server counts of its own work, as metrics: sessions, requests, relays, cache. Counters are
// read where they are kept, without a lock on the way of the data.
//
// Threads: any.

#pragma once

#include "nbd-server/http/metrics_text.h"

namespace signpost {

class NbdServer;

void add_server_metrics(MetricsText& text, NbdServer& server);

}  // namespace signpost
