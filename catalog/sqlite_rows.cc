// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_rows.h"

namespace signpost {

std::vector<DiskRecord> read_disks(Statement& rows, std::string_view prefix, std::size_t limit,
                                   SkipCount& skipped) {
    DiskCollector collector(skipped);
    while (rows.step()) {
        const auto name = rows.text(LocationColumn::disk);
        if (!name) {
            ++skipped;
            continue;
        }
        if (!collector.is_current(*name)) {
            collector.finish();
            if (collector.size() == limit || !name->starts_with(prefix))
                break;
            collector.start(*name);
        }
        collector.add(rows);
    }
    collector.finish();
    return collector.take_disks();
}

std::vector<Server> read_servers(Statement& rows, SkipCount& skipped) {
    ServerCollector collector(skipped);
    while (rows.step())
        collector.add(rows);
    return collector.take_servers();
}

}  // namespace signpost
