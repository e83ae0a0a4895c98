// SPDX-License-Identifier: BSD-3-Clause

#include "files/partition_table.h"

#include <memory>

#include "files/probe.h"
#include "files/tsk_image.h"
#include "files/tsk_volume.h"

namespace signpost::files {

namespace {

constexpr std::size_t kMaxPartitions = 1024;
constexpr std::uint32_t kFirstLogical = 5;

// As Linux counts: the slot of a primary or GPT partition; logical ones from 5 on, and each of them
// has a table of its own in the chain.
std::uint32_t number_of(const TSK_VS_INFO& table, const TSK_VS_PART_INFO& part) {
    if (table.vstype == TSK_VS_TYPE_DOS && part.table_num > 0) {
        return kFirstLogical - 1 + static_cast<std::uint8_t>(part.table_num);
    }
    return static_cast<std::uint32_t>(static_cast<std::uint8_t>(part.slot_num)) + 1;
}

std::vector<Partition> of_table(DiskLink& link, TSK_VS_INFO& table) {
    std::vector<Partition> partitions;
    for (const TSK_VS_PART_INFO* part = table.part_list; part != nullptr; part = part->next) {
        const std::uint64_t block = table.block_size;
        if ((part->flags & TSK_VS_PART_FLAG_ALLOC) == 0 || part->start >= link.size() / block ||
            partitions.size() == kMaxPartitions) {
            continue;
        }
        Partition partition;
        partition.number = number_of(table, *part);
        partition.volume.start = part->start * block;
        partition.volume.length =
            std::min<std::uint64_t>(part->len, link.size() / block - part->start) * block;
        partition.name = part->desc != nullptr ? part->desc : "";
        partitions.push_back(std::move(partition));
    }
    return partitions;
}

void look_at(DiskLink& link, Partition& partition) {
    Probed found = probe(link, partition.volume);
    partition.file_system = std::move(found.type);
    partition.label = std::move(found.label);
    partition.uuid = std::move(found.uuid);
    partition.readable = TskVolume::reads(partition.file_system);
}

}  // namespace

Result<std::vector<Partition>> read_partitions(DiskLink& link) {
    Partition whole;
    whole.volume = {0, link.size()};
    look_at(link, whole);
    if (!whole.file_system.empty()) {
        return std::vector{std::move(whole)};
    }
    TskImage disk(link, whole.volume);
    const std::unique_ptr<TSK_VS_INFO, decltype(&::tsk_vs_close)> table(
        ::tsk_vs_open(disk.info(), 0, TSK_VS_TYPE_DETECT), ::tsk_vs_close);
    if (disk.take_read_error()) {
        return fail(Errc::io, "the partition table cannot be read");
    }
    std::vector<Partition> partitions =
        table ? of_table(link, *table) : std::vector{std::move(whole)};
    std::vector<Volume> volumes;
    for (const Partition& partition : partitions) {
        volumes.push_back(partition.volume);
    }
    probe_ahead(link, volumes);
    for (Partition& partition : partitions) {
        look_at(link, partition);
    }
    return partitions;
}

}  // namespace signpost::files
