// SPDX-License-Identifier: BSD-3-Clause

#include "cli/guest_disk.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "cli/disk_door.h"
#include "terminal/text.h"

namespace signpost {

namespace {

Outcome<NbdUri> address_of(const Context& context, const DiskPlace& place) {
    if (const auto* uri = std::get_if<NbdUri>(&place.disk)) {
        return *uri;
    }
    if (!context.options.disk_socket.empty()) {
        NbdUri uri;
        uri.socket_path = context.options.disk_socket;
        uri.export_name = std::get<DiskName>(place.disk).str();
        return uri;
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto disk = meant_disk(*view, context.console, std::get<DiskName>(place.disk));
    if (!disk) {
        return std::unexpected(disk.error());
    }
    auto door = disk_door(*view, *disk);
    return door ? Outcome<NbdUri>(std::move(door->uri)) : std::unexpected(door.error());
}

Outcome<std::pair<PeerConnection, ExportFacts>> open_export(const Context& context,
                                                            const NbdUri& uri) {
    // A relay that dials others first takes its time.
    auto connection = PeerConnection::connect(
        uri, {.tls = context.options.tls, .answer = std::chrono::milliseconds(15'000)});
    if (!connection) {
        return std::unexpected(peer_failure(connection.error()));
    }
    const auto facts = connection->open(uri.export_name);
    if (!facts) {
        return std::unexpected(peer_failure(facts.error()));
    }
    return std::pair(std::move(*connection), *facts);
}

ExitCode exit_code(Errc code) {
    switch (code) {
        case Errc::not_found:
            return ExitCode::no_such_disk;
        case Errc::unavailable:
            return ExitCode::peer_unreachable;
        case Errc::conflict:
            return ExitCode::conflict;
        case Errc::denied:
            return ExitCode::denied;
        default:
            return ExitCode::failed;
    }
}

// How far two names are apart, in changed characters; more than MOST is not counted.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
        }
    }
    return row.back();
}

std::string shown(const GuestVolume& volume) {
    return fmt::format(
        "{} ({}{}{})", volume.name.empty() ? "the whole disk" : escaped(volume.name),
        volume.what.file_system.empty() ? "unknown" : escaped(volume.what.file_system),
        volume.what.label.empty() ? "" : ", ", escaped(volume.what.label, 40));
}

std::string name_of(const files::Partition& partition) {
    return partition.number == 0 ? "" : fmt::format("p{}", partition.number);
}

// Of what lies in the encrypted partition OUTER.
std::string inner_name(const std::string& outer, const files::Partition& partition) {
    return partition.number == 0 ? outer : fmt::format("{}/{}", outer, name_of(partition));
}

// What GRUB reads, by libblkid's names. Of the groups and the encrypted it is what lies within.
constexpr std::string_view kByGrub[] = {"xfs",      "btrfs",      "f2fs",    "jfs",   "nilfs2",
                                        "reiserfs", "minix",      "udf",     "romfs", "bfs",
                                        "befs",     "zfs_member", "squashfs"};
constexpr std::string_view kGroups[] = {"LVM2_member", "linux_raid_member"};
constexpr std::string_view kEncrypted[] = {"crypto_LUKS"};

template <std::size_t N>
bool is_one_of(const std::string_view (&names)[N], std::string_view name) {
    return std::ranges::find(names, name) != std::end(names);
}

bool is_read_by_grub(const files::Partition& partition) {
    return is_one_of(kByGrub, partition.file_system);
}

bool holds_others(const files::Partition& partition) {
    return is_one_of(kGroups, partition.file_system) ||
           is_one_of(kEncrypted, partition.file_system);
}

bool needs_stage(const files::Partition& partition) {
    return is_read_by_grub(partition) || is_one_of(kGroups, partition.file_system);
}

// "lvm/vg0-home--dir" is volume home-dir of group vg0: a hyphen of a name is said twice.
std::string logical_name(std::string_view device) {
    if (!device.starts_with("lvm/")) {
        return std::string(device);
    }
    device.remove_prefix(4);
    std::string name;
    for (std::size_t i = 0; i < device.size(); ++i) {
        const bool hyphen = device[i] == '-';
        const bool twice = hyphen && device.substr(i).starts_with("--");
        name += hyphen && !twice ? '/' : device[i];
        i += twice ? 1 : 0;
    }
    return name;
}

}  // namespace

Outcome<std::unique_ptr<GuestDisk>> GuestDisk::open(const Context& context, const DiskPlace& place,
                                                    const GuestSources& sources) {
    std::unique_ptr<GuestDisk> disk(new GuestDisk(context, sources));
    disk->name_ = place.disk_text();
    if (auto added = disk->add(place); !added) {
        return std::unexpected(added.error());
    }
    for (const DiskPlace& other : sources.with) {
        if (auto added = disk->add(other); !added) {
            return std::unexpected(added.error());
        }
    }
    return disk;
}

Outcome<void> GuestDisk::add(const DiskPlace& place) {
    auto uri = address_of(context_, place);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    auto opened = open_export(context_, *uri);
    if (!opened) {
        return std::unexpected(opened.error());
    }
    auto blocks = std::make_unique<DiskBlocks>(std::move(opened->first), opened->second);
    auto reader = FileReader::start(*blocks);
    if (!reader) {
        return std::unexpected(peer_failure(reader.error()));
    }
    disks_.push_back({place.disk_text(), std::move(*uri), std::move(blocks), std::move(*reader)});
    return {};
}

Failure GuestDisk::about(const std::string& path, const Error& error) const {
    return {exit_code(error.code),
            fmt::format("{}:{}: {}", escaped(name_), escaped(path), error.message)};
}

Outcome<void> GuestDisk::look() {
    if (looked_) {
        return {};
    }
    const auto partitions = disks_.front().reader->partitions();
    if (!partitions) {
        return std::unexpected(about("", partitions.error()));
    }
    for (const files::Partition& partition : *partitions) {
        FileReader* reader = partition.readable ? disks_.front().reader.get() : nullptr;
        volumes_.push_back({name_of(partition), partition, reader, partition.volume, false});
    }
    looked_ = true;
    unlock(0, *partitions);
    return {};
}

// What cannot be unlocked is kept for who needs it: it may be another's passphrase.
void GuestDisk::unlock(std::size_t disk, const std::vector<files::Partition>& partitions) {
    for (const files::Partition& each : partitions) {
        if (sources_.key_file.empty() || !is_one_of(kEncrypted, each.file_system)) {
            continue;
        }
        if (auto opened = unlock_one(disk, each); !opened) {
            const bool may_others = opened.error().code != Errc::not_found;
            unlock_trouble_ =
                fmt::format("{}: {}{}", shown({name_of(each), each, nullptr, {}, false}),
                            opened.error().message,
                            may_others ? guestfish_hint("; perhaps by", disks_[disk].uri) : "");
        }
    }
}

// A connection of its own, behind which the partition is a disk.
Result<void> GuestDisk::unlock_one(std::size_t disk, const files::Partition& partition) {
    OneDisk& outer = disks_[disk];
    auto key = FileReader::unlock(*outer.blocks, partition.volume, sources_.key_file);
    auto cipher = key ? SectorCipher::make(*key) : std::unexpected(key.error());
    if (!cipher) {
        return std::unexpected(cipher.error());
    }
    auto opened = open_export(context_, outer.uri);
    if (!opened) {
        return fail(Errc::unavailable, opened.error().message);
    }
    if (opened->second.size != outer.blocks->size()) {
        return fail(Errc::conflict, "the disk has changed");
    }
    auto blocks = std::make_unique<DiskBlocks>(std::move(opened->first), opened->second,
                                               key->volume, std::move(*cipher));
    auto reader = FileReader::start(*blocks);
    const auto within = reader ? (*reader)->partitions() : std::unexpected(reader.error());
    if (!within) {
        return std::unexpected(within.error());
    }
    const std::string name = name_of(partition);
    for (const files::Partition& each : *within) {
        if (disk == 0) {
            volumes_.push_back({inner_name(name, each), each,
                                each.readable ? reader->get() : nullptr, each.volume, true});
        }
    }
    unlocked_.push_back({name, outer.uri, std::move(blocks), std::move(*reader)});
    return {};
}

// WITHIN: the disk is what was encrypted, and NAME its partition's.
Outcome<void> GuestDisk::add_slices(const OneDisk& disk, const std::string& name, bool within,
                                    std::vector<Slice>& slices) const {
    const auto partitions = disk.reader->partitions();
    if (!partitions) {
        return std::unexpected(about("", partitions.error()));
    }
    for (const files::Partition& each : *partitions) {
        if (needs_stage(each)) {
            slices.push_back({{disk.blocks.get(), each.volume.start, each.volume.length},
                              within ? inner_name(name, each) : name + name_of(each),
                              within});
        }
    }
    return {};
}

// Hands all that GRUB may read to it, once. What hinders it is kept for who needs it.
Outcome<void> GuestDisk::stage() {
    if (std::exchange(staged_, true)) {
        return {};
    }
    for (std::size_t i = 1; i < disks_.size(); ++i) {
        const auto partitions = disks_[i].reader->partitions();
        if (!partitions) {
            return std::unexpected(about("", partitions.error()));
        }
        unlock(i, *partitions);
    }
    std::vector<Slice> slices;
    for (const OneDisk& disk : disks_) {
        const std::string place = &disk == &disks_.front() ? "" : "-";
        if (auto added = add_slices(disk, place, false, slices); !added) {
            return added;
        }
    }
    for (const OneDisk& disk : unlocked_) {
        if (auto added = add_slices(disk, disk.name, true, slices); !added) {
            return added;
        }
    }
    if (slices.empty()) {
        return {};
    }
    std::vector<RawVolume> raw;
    for (const Slice& slice : slices) {
        raw.push_back(slice.raw);
    }
    auto grub = FileReader::start_grub(std::move(raw));
    const auto devices = grub
                             ? (*grub)->partitions()
                             : Result<std::vector<files::Partition>>(std::unexpected(grub.error()));
    if (!devices) {
        stage_trouble_ = devices.error().message;
        return {};
    }
    grub_ = std::move(*grub);
    take_devices(*devices, slices);
    return {};
}

// "loop3" is the fourth slice itself; another device is one that GRUB has made of the slices.
void GuestDisk::take_devices(const std::vector<files::Partition>& devices,
                             const std::vector<Slice>& slices) {
    for (const files::Partition& device : devices) {
        std::string_view number = device.name;
        std::size_t slice = slices.size();
        if (number.starts_with("loop")) {
            number.remove_prefix(4);
            std::from_chars(number.data(), number.data() + number.size(), slice);
        }
        if (slice >= slices.size()) {
            volumes_.push_back(
                {logical_name(device.name), device, grub_.get(), device.volume, true});
            continue;
        }
        const auto native = std::ranges::find_if(volumes_, [&](const GuestVolume& volume) {
            return volume.name == slices[slice].name && volume.within == slices[slice].within;
        });
        if (native != volumes_.end() && native->reader == nullptr) {
            native->reader = grub_.get();
            native->address = device.volume;
        }
    }
}

Outcome<std::vector<GuestVolume>> GuestDisk::all_volumes() {
    if (auto looked = look(); !looked) {
        return std::unexpected(looked.error());
    }
    const bool has_groups = std::ranges::any_of(volumes_, [](const GuestVolume& volume) {
        return is_one_of(kGroups, volume.what.file_system);
    });
    if (has_groups) {
        if (auto staged = stage(); !staged) {
            return std::unexpected(staged.error());
        }
        if (!stage_trouble_.empty()) {
            context_.console.note(fmt::format("signpost: {}: {}", escaped(name_), stage_trouble_));
        }
    }
    auto volumes = volumes_;
    for (GuestVolume& volume : volumes) {
        volume.what.readable = volume.what.readable || is_read_by_grub(volume.what);
    }
    return volumes;
}

std::string GuestDisk::volume_list() const {
    std::vector<std::string> texts;
    for (const GuestVolume& volume : volumes_) {
        texts.push_back(shown(volume));
    }
    return fmt::format("{}", fmt::join(texts, ", "));
}

// Of a disk with partitions that were not looked into.
std::string GuestDisk::passphrase_hint() const {
    const bool encrypted = std::ranges::any_of(volumes_, [](const GuestVolume& volume) {
        return is_one_of(kEncrypted, volume.what.file_system);
    });
    return !encrypted                  ? ""
           : sources_.key_file.empty() ? "; --key FILE opens the encrypted one"
           : unlock_trouble_.empty()   ? ""
                                       : fmt::format("; {}", unlock_trouble_);
}

Failure GuestDisk::nothing_to_read(const DiskPlace& place,
                                   const std::vector<GuestVolume>& there) const {
    const auto encrypted = std::ranges::find_if(there, [](const GuestVolume& volume) {
        return is_one_of(kEncrypted, volume.what.file_system);
    });
    if (encrypted != there.end() && sources_.key_file.empty()) {
        return {ExitCode::failed,
                fmt::format("{}: {} is encrypted; give --key FILE, which holds the passphrase",
                            escaped(name_), shown(*encrypted))};
    }
    if (encrypted != there.end() && !unlock_trouble_.empty()) {
        return {ExitCode::failed, fmt::format("{}: {}", escaped(name_), unlock_trouble_)};
    }
    if (!stage_trouble_.empty()) {
        return {ExitCode::failed, fmt::format("{}: {}{}", escaped(name_), stage_trouble_,
                                              guestfish_hint("; or try", disks_.front().uri))};
    }
    const bool is_one = there.size() == 1 && place.logical.empty();
    return {ExitCode::failed,
            fmt::format("{}: no file system that can be read here: {}{}", escaped(name_),
                        is_one ? shown(there.front()) : volume_list(),
                        guestfish_hint("; perhaps by", disks_.front().uri))};
}

// What lies in a partition: what was encrypted there; of a group everything that groups have.
std::vector<GuestVolume> GuestDisk::those_within(const std::string& name) const {
    std::vector<GuestVolume> within = volumes_;
    std::erase_if(within, [](const GuestVolume& volume) { return !volume.within; });
    std::vector<GuestVolume> own = within;
    std::erase_if(own, [&](const GuestVolume& volume) {
        return volume.name != name && !volume.name.starts_with(name + "/p");
    });
    return own.empty() || holds_others(own.front().what) ? within : own;
}

// A socket that was given to this process alone is of no use to whoever reads that; and what gave
// it has forbidden much that GRUB's tools need.
std::string GuestDisk::guestfish_hint(const char* words, const NbdUri& uri) const {
    return context_.options.disk_socket.empty()
               ? fmt::format("{}: guestfish --ro -i -a '{}'", words, uri.str())
               : "; `signpost files`, run from a shell, may read it";
}

// Those that a place may mean. Of a partition that holds others it is these.
Outcome<std::vector<GuestVolume>> GuestDisk::candidates(const DiskPlace& place, bool staged) {
    std::vector<GuestVolume> named;
    for (const GuestVolume& volume : volumes_) {
        const bool is_meant = !place.logical.empty() ? volume.name == place.logical
                              : place.part ? volume.name == fmt::format("p{}", *place.part)
                                           : true;
        if (is_meant) {
            named.push_back(volume);
        }
    }
    if (place.part && !named.empty() && holds_others(named.front().what)) {
        const GuestVolume outer = std::move(named.front());
        named = those_within(outer.name);
        if (named.empty()) {
            named.push_back(outer);
        }
    }
    if (named.empty() && staged) {
        return failure(
            ExitCode::no_such_disk,
            fmt::format("{} has no partition {}; it has {}{}{}", escaped(name_),
                        place.part ? fmt::format("p{}", *place.part) : place.logical, volume_list(),
                        stage_trouble_.empty() ? "" : "; ", stage_trouble_));
    }
    std::vector<GuestVolume> readable = named;
    std::erase_if(readable, [](const GuestVolume& volume) { return volume.reader == nullptr; });
    if (readable.empty() && staged) {
        return std::unexpected(nothing_to_read(place, named));
    }
    return readable;
}

Outcome<std::vector<GuestFile>> GuestDisk::find_among(const std::vector<GuestVolume>& among,
                                                      const DiskPlace& place, bool follow,
                                                      bool deleted) {
    const std::string path = place.path.empty() ? "/" : place.path;
    std::vector<GuestFile> found;
    for (const GuestVolume& volume : among) {
        auto entry = volume.reader->find({volume.address, path, follow, deleted});
        if (entry) {
            say_route(volume);
            found.push_back({volume.reader, volume.address, path, std::move(*entry)});
        } else if (entry.error().code != Errc::not_found) {
            return std::unexpected(about(path, entry.error()));
        }
    }
    return found;
}

void GuestDisk::say_route(const GuestVolume& volume) const {
    if (sources_.verbose) {
        context_.console.note(
            fmt::format("{}: {} is read by {}", escaped(name_), shown(volume),
                        volume.reader == grub_.get() ? "GRUB, over FUSE" : "The Sleuth Kit"));
    }
}

Outcome<GuestVolume> GuestDisk::choose(const DiskPlace& place) {
    if (auto looked = look(); !looked) {
        return std::unexpected(looked.error());
    }
    auto among = candidates(place, false);
    const bool named = place.part || !place.logical.empty();
    if (among && (among->empty() || !named)) {
        if (auto staged = stage(); !staged) {
            return std::unexpected(staged.error());
        }
        among = candidates(place, true);
    }
    if (!among) {
        return std::unexpected(among.error());
    }
    if (among->size() > 1) {
        return failure(ExitCode::usage, fmt::format("{} has more than one file system; say which, "
                                                    "as {}:{}: {}",
                                                    escaped(name_), escaped(name_),
                                                    escaped(among->front().name), volume_list()));
    }
    say_route(among->front());
    return std::move(among->front());
}

Outcome<GuestFile> GuestDisk::find(const DiskPlace& place, bool follow, bool deleted) {
    if (auto looked = look(); !looked) {
        return std::unexpected(looked.error());
    }
    const std::string path = place.path.empty() ? "/" : place.path;
    auto among = candidates(place, false);
    auto found = among ? find_among(*among, place, follow, deleted)
                       : Outcome<std::vector<GuestFile>>(std::unexpected(among.error()));
    // Every file system has a root, so that one says nothing.
    const bool is_enough =
        found && !found->empty() && (place.part || !place.logical.empty() || path != "/");
    const bool has_more = !staged_ && std::ranges::any_of(volumes_, [](const auto& volume) {
        return needs_stage(volume.what);
    });
    if (found && !is_enough && (has_more || found->empty())) {
        if (auto staged = stage(); !staged) {
            return std::unexpected(staged.error());
        }
        among = candidates(place, true);
        found = among ? find_among(*among, place, follow, deleted)
                      : Outcome<std::vector<GuestFile>>(std::unexpected(among.error()));
    }
    if (!found) {
        return std::unexpected(found.error());
    }
    if (found->size() > 1) {
        return failure(ExitCode::usage,
                       fmt::format("{} is on more than one of the partitions of {}; say which, as "
                                   "{}:{}:{}: {}",
                                   escaped(path), escaped(name_), escaped(name_),
                                   escaped(among->front().name), escaped(path), volume_list()));
    }
    if (found->empty()) {
        return std::unexpected(
            among->size() == 1
                ? no_such_file(place, among->front())
                : Failure{ExitCode::no_such_disk,
                          fmt::format("{} is on none of the partitions of {}: {}{}", escaped(path),
                                      escaped(name_), volume_list(), passphrase_hint())});
    }
    return std::move(found->front());
}

// With the names that come nearest.
Failure GuestDisk::no_such_file(const DiskPlace& place, const GuestVolume& volume) {
    std::string path = place.path;
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    const std::size_t slash = path.rfind('/');
    const std::string directory = slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
    const std::string name = path.substr(slash == path.npos ? 0 : slash + 1);
    std::string message = fmt::format("{}: no such file: {}", escaped(name_), escaped(place.path));
    const auto there = volume.reader->find({volume.address, directory, true, false});
    if (!there) {
        return {ExitCode::no_such_disk, fmt::format("{}; {} is not there either{}", message,
                                                    escaped(directory), passphrase_hint())};
    }
    std::vector<std::pair<std::size_t, std::string>> near;
    const auto listed = volume.reader->list(
        {volume.address, there->inode, false, false}, [&](const files::Entry& entry) {
            const bool comparable = entry.name.size() < 100 && name.size() < 100;
            const std::size_t apart = comparable ? distance(name, entry.name) : name.size();
            if (apart <= 2 + name.size() / 4) {
                near.emplace_back(apart, escaped(entry.name));
            }
        });
    std::ranges::sort(near);
    if (listed && !near.empty()) {
        near.resize(std::min<std::size_t>(near.size(), 3));
        std::vector<std::string> names;
        for (auto& [apart, text] : near) {
            names.push_back(std::move(text));
        }
        message += fmt::format("; there is {}", fmt::join(names, ", "));
    }
    return {ExitCode::no_such_disk, message + passphrase_hint()};
}

}  // namespace signpost
