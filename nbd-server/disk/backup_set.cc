// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/backup_set.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <utility>

#include "catalog/restore_point.h"
#include "nbd-server/disk/backup_stream.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/chain_disk.h"

namespace signpost {

namespace {

constexpr std::string_view kExtension = ".data";
constexpr std::size_t kMostFiles = 4096;  // of one disk in one directory
// How much earlier an increment may seem than what it is based on: clocks are put back in autumn.
constexpr std::time_t kClockPutBack = 3600;

struct FileName {
    std::string directory;  // with the slash at its end, if it is not empty
    std::string disk;
    bool whole;  // full or copy
};

std::optional<FileName> parse_file_name(std::string_view path) {
    const std::size_t slash = path.rfind('/') + 1;  // 0 when there is none
    std::string_view name = path.substr(slash);
    if (!name.ends_with(kExtension)) {
        return std::nullopt;
    }
    name.remove_suffix(kExtension.size());
    for (const std::string_view level : {".full", ".copy"}) {
        if (name.size() > level.size() && name.ends_with(level)) {
            name.remove_suffix(level.size());
            return FileName{std::string(path.substr(0, slash)), std::string(name), true};
        }
    }
    for (const std::string_view level : {".inc.", ".diff."}) {
        const std::size_t at = name.find(level);
        if (at != 0 && at != name.npos && at + level.size() < name.size()) {
            return FileName{std::string(path.substr(0, slash)), std::string(name.substr(0, at)),
                            false};
        }
    }
    return std::nullopt;
}

std::string utc(std::time_t time) {
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    char text[64];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts)};
}

// DATE: as BackupMeta has it. As if it were UTC.
std::time_t seconds_of(const std::string& date) {
    std::tm parts{};
    return ::strptime(date.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr ? 0 : ::timegm(&parts);
}

struct Member {
    CheckedFile file;
    BackupMeta meta;
    FileName name;
};

// The message goes after the file's name.
Result<Member> open_member(const Repository& repository, const std::string& path) {
    auto name = parse_file_name(path);
    if (!name) {
        return fail(Errc::invalid, "it is no file of a virtnbdbackup set");
    }
    auto file = open_image_file(repository, path, Access::look);
    if (!file) {
        return std::unexpected(file.error());
    }
    auto meta = read_backup_meta(image_bytes(file->fd.get(), file->size));
    if (!meta) {
        // Half a beginning says nothing yet; when it is whole, somebody looks again.
        return file->being_written ? fail(Errc::not_found, "it is still being written")
                                   : std::unexpected(meta.error());
    }
    if (meta->stream && meta->disk != name->disk) {
        return fail(Errc::invalid, fmt::format("it is called one of disk {}, and says {}",
                                               escaped(name->disk), escaped(meta->disk)));
    }
    if (!meta->stream) {
        struct stat status {};
        if (!name->whole || meta->size == 0 || ::fstat(file->fd.get(), &status) != 0) {
            return fail(Errc::invalid, "its beginning is not what virtnbdbackup writes");
        }
        meta->date = utc(status.st_mtim.tv_sec);
    }
    return Member{std::move(*file), std::move(*meta), std::move(*name)};
}

// A colon must not be in the first component of a name.
Result<DiskName> name_of(const Member& member) {
    std::string time = member.meta.date;
    if (member.name.directory.empty()) {
        std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
    }
    return DiskName::parse(fmt::format("{}{}@{}", member.name.directory, member.name.disk, time));
}

class SetOpener {
   public:
    SetOpener(const Repository& repository, std::size_t number, Access access,
              std::chrono::milliseconds settle)
        : repository_(repository), number_(number), access_(access), settle_(settle) {}

    Result<OpenChain> open(const std::string& path) {
        auto member = open_member(repository_, path);
        std::string at = path;
        while (true) {
            if (!member) {
                return about(path, at, member.error());
            }
            const BackupMeta meta = member->meta;
            const FileName name = member->name;
            if (auto added = add(std::move(*member), at); !added) {
                return about(path, at, added.error());
            }
            if (chain_.unsettled || !meta.incremental) {
                return std::move(chain_);
            }
            if (chain_.files.size() == kMaxChainFiles) {
                return about(path, path,
                             {Errc::invalid,
                              fmt::format("it is based on more than {} others", kMaxChainFiles)});
            }
            auto base = base_of(meta, name);
            if (!base) {
                return about(path, at, base.error());
            }
            at = std::move(base->first);
            member = std::move(base->second);
        }
    }

   private:
    Result<void> add(Member member, const std::string& path) {
        if (access_ == Access::serve && member.file.being_written) {
            return fail(Errc::conflict,
                        "it is still being written: a program has it open for writing; end that, "
                        "or wait");
        }
        if (access_ == Access::look && is_unsettled(member.file, settle_)) {
            chain_.unsettled = true;
            return {};
        }
        const auto bytes = image_bytes(member.file.fd.get(), member.file.size);
        if (auto whole = check_backup_end(bytes, member.meta); !whole) {
            return whole;
        }
        if (chain_.files.empty()) {
            chain_.size = member.meta.size;
        }
        if (is_later(member.file.changed, chain_.changed)) {
            chain_.changed = member.file.changed;
        }
        chain_.files.push_back(ImageFile{.fd = std::move(member.file.fd),
                                         .path = path,
                                         .format = ImageFormat::virtnbdbackup,
                                         .repository = number_});
        return {};
    }

    using Found = std::pair<std::string, Member>;

    // The file that ended with the checkpoint which the one of META began with. A differential one
    // ends with none.
    Result<Found> base_of(const BackupMeta& meta, const FileName& name) {
        const std::string stem = name.directory + name.disk;
        for (std::string candidate :
             {fmt::format("{}.inc.{}.data", stem, meta.parent), stem + ".full.data"}) {
            if (std::ranges::find(chain_.files, candidate, &ImageFile::path) !=
                chain_.files.end()) {
                continue;
            }
            auto member = open_member(repository_, candidate);
            if (!member && member.error().code == Errc::not_found) {
                continue;
            }
            if (!member) {
                return about(candidate, candidate, member.error());
            }
            if (!member->meta.stream || member->meta.checkpoint != meta.parent) {
                continue;
            }
            if (seconds_of(meta.date) + kClockPutBack < seconds_of(member->meta.date)) {
                return fail(Errc::invalid,
                            fmt::format("it is older than {}, on which it should be based: they do "
                                        "not belong together",
                                        escaped(candidate)));
            }
            return Found{std::move(candidate), std::move(*member)};
        }
        return fail(Errc::invalid, fmt::format("it is based on checkpoint {}, which no file beside "
                                               "it has; copy the set again, whole",
                                               escaped(meta.parent)));
    }

    // PATH: the point. AT: where the fault is.
    std::unexpected<Error> about(const std::string& path, const std::string& at,
                                 const Error& error) const {
        // A point that is there is not missing because another file is.
        const Errc code = at != path && error.code == Errc::not_found ? Errc::invalid : error.code;
        const std::string top = display_path(repository_, path);
        return fail(code, at == path ? fmt::format("image {}: {}", top, error.message)
                                     : fmt::format("image {}: {}, on which it is based: {}", top,
                                                   display_path(repository_, at), error.message));
    }

    const Repository& repository_;
    const std::size_t number_;
    const Access access_;
    const std::chrono::milliseconds settle_;
    OpenChain chain_;
};

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

bool is_backup_file(std::string_view path) {
    return parse_file_name(path).has_value();
}

Result<DiskName> backup_point_of(const Repository& repository, const std::string& path) {
    const auto member = open_member(repository, path);
    return member ? name_of(*member) : std::unexpected(member.error());
}

std::vector<std::string> backup_files_of(const Repository& repository, const DiskName& name) {
    const auto point = RestorePoint::of(name);
    if (!point) {
        return {};
    }
    const std::size_t slash = point->disk.rfind('/') + 1;
    const std::string directory = point->disk.substr(0, slash);
    const std::string disk = point->disk.substr(slash);
    auto fd = open_beneath(repository.root(), directory.empty() ? "." : directory,
                           O_RDONLY | O_DIRECTORY, Links::refuse);
    const std::unique_ptr<DIR, CloseDirectory> stream(fd ? ::fdopendir(fd->get()) : nullptr);
    if (!stream) {
        return {};
    }
    fd->release();
    std::vector<std::string> found;
    std::size_t looked = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string path = directory + entry->d_name;
        const auto parsed = parse_file_name(path);
        if (!parsed || parsed->disk != disk || ++looked > kMostFiles) {
            continue;
        }
        if (const auto own = backup_point_of(repository, path); own && *own == name) {
            found.push_back(path);
        }
    }
    std::ranges::sort(found);
    return found;
}

Result<OpenChain> open_backup_chain(const std::vector<Repository>& repositories,
                                    const RepositoryPath& top, Access access,
                                    std::chrono::milliseconds settle) {
    return SetOpener(repositories[top.repository], top.repository, access, settle).open(top.path);
}

}  // namespace signpost
