// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/backing_chain.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "nbd-server/disk/backup_set.h"
#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

struct Place {
    RepositoryPath where;
    ImageFormat format;
};

// Why NAME is not even looked for; empty when it is a plain path.
std::string_view refusal_of_name(std::string_view name) {
    if (name.find('\0') != std::string_view::npos) {
        return "it holds a NUL byte";
    }
    if (const auto at = name.find_first_of(":/"); at != std::string_view::npos && name[at] == ':') {
        return "only a plain file name is followed, no protocol and no json";
    }
    return {};
}

class ChainOpener {
   public:
    ChainOpener(const std::vector<Repository>& repositories, Access access,
                std::chrono::milliseconds settle)
        : repositories_(repositories), access_(access), settle_(settle) {}

    Result<OpenChain> open(Place place) {
        while (true) {
            auto next = add(place);
            if (!next) {
                return about_image(next.error(), place);
            }
            if (chain_.unsettled || !next->has_value()) {
                return std::move(chain_);
            }
            auto found = find(place.where, **next);
            if (!found) {
                return about_image(found.error(), place);
            }
            place = std::move(*found);
        }
    }

   private:
    // Opens the file and adds it to the chain. What it is based on, if anything.
    Result<std::optional<BackingReference>> add(const Place& place) {
        const Repository& repository = repositories_[place.where.repository];
        const bool top = chain_.files.empty();
        auto file = open_image_file(repository, place.where.path, top ? access_ : Access::look);
        if (!file) {
            // A missing backing file is the image's fault: it must not look like a missing disk.
            const bool missing = !top && file.error().code == Errc::not_found;
            return fail(missing ? Errc::invalid : file.error().code, file.error().message);
        }
        if (file->being_written && access_ == Access::serve) {
            return fail(Errc::conflict,
                        "it is still being written: a program has it open for writing; end that, "
                        "or wait");
        }
        if (access_ == Access::look && is_unsettled(*file, settle_)) {
            chain_.unsettled = true;
            return std::optional<BackingReference>{};
        }
        if (auto good = check_place(*file); !good) {
            return std::unexpected(good.error());
        }
        auto header = read_image_header(place.format, image_bytes(file->fd.get(), file->size));
        if (!header) {
            return std::unexpected(header.error());
        }
        if (top) {
            chain_.size = header->size;
            chain_.writable = file->writable;
        }
        if (is_later(file->changed, chain_.changed)) {
            chain_.changed = file->changed;
        }
        chain_.files.push_back(ImageFile{.fd = std::move(file->fd),
                                         .path = place.where.path,
                                         .format = place.format,
                                         .repository = place.where.repository});
        return std::move(header->backing);
    }

    Result<void> check_place(const CheckedFile& file) {
        const std::pair identity(file.device, file.inode);
        if (std::ranges::find(seen_, identity) != seen_.end()) {
            return fail(Errc::invalid, "the backing files lead in a circle");
        }
        if (seen_.size() == kMaxChain) {
            return fail(Errc::invalid,
                        fmt::format("more than {} files are based on each other; shorten the chain "
                                    "with `qemu-img rebase`",
                                    kMaxChain));
        }
        seen_.push_back(identity);
        return {};
    }

    // The file that the image at IMAGE is based on.
    Result<Place> find(const RepositoryPath& image, const BackingReference& reference) const {
        if (const auto refusal = refusal_of_name(reference.file); !refusal.empty()) {
            return fail(Errc::invalid, fmt::format("backing file '{}' is refused: {}",
                                                   escaped(reference.file), refusal));
        }
        const auto where = reference.file.starts_with('/') ? find_absolute(reference.file)
                                                           : find_relative(image, reference.file);
        if (!where) {
            return std::unexpected(where.error());
        }
        if (reference.format.empty()) {
            if (const auto format = format_of_path(where->path); format && followed(*format)) {
                return Place{.where = *where, .format = *format};
            }
        } else if (const auto format = parse_image_format(reference.format);
                   format && followed(*format)) {
            return Place{.where = *where, .format = *format};
        }
        return fail(
            Errc::invalid,
            fmt::format("backing file '{}' is refused: its format '{}' is not raw or qcow2; "
                        "set it with `qemu-img rebase -u -F`",
                        escaped(reference.file), escaped(reference.format)));
    }

    static bool followed(ImageFormat format) {
        return format == ImageFormat::raw || format == ImageFormat::qcow2;
    }

    Result<RepositoryPath> find_absolute(const std::string& file) const {
        bool beneath = false;
        for (std::size_t i = 0; i < repositories_.size(); ++i) {
            const auto path = repositories_[i].relative(file);
            beneath |= path.has_value();
            if (path && open_beneath(repositories_[i].root(), *path, O_PATH)) {
                return RepositoryPath{.repository = i, .path = *path};
            }
        }
        return fail(Errc::invalid,
                    fmt::format("backing file '{}' is refused: {}", escaped(file),
                                beneath ? "it is missing, or leads outside the repository"
                                        : "it is not in a repository of this server"));
    }

    // Beneath the image's own repository, as the kernel resolves it; or, if that leads out of it,
    // in another repository that lies there.
    Result<RepositoryPath> find_relative(const RepositoryPath& image,
                                         const std::string& file) const {
        const auto joined = std::filesystem::path(image.path).parent_path() / file;
        const Repository& own = repositories_[image.repository];
        const auto opened = open_beneath(own.root(), joined.string(), O_PATH);
        if (opened) {
            return RepositoryPath{.repository = image.repository, .path = joined.string()};
        }
        if (opened.error() == EXDEV) {
            for (const std::string& spelling : own.spellings()) {
                auto found = find_absolute(
                    (std::filesystem::path(spelling) / joined).lexically_normal().string());
                if (found) {
                    return found;
                }
            }
        }
        return fail(Errc::invalid,
                    fmt::format("backing file '{}' is refused: {}", escaped(file),
                                opened.error() == EXDEV ? "it is not in a repository of this server"
                                                        : error_text(opened.error())));
    }

    std::unexpected<Error> about_image(const Error& error, const Place& place) const {
        const auto shown = [this](const RepositoryPath& where) {
            return display_path(repositories_[where.repository], where.path);
        };
        if (chain_.files.empty()) {
            return fail(error.code, fmt::format("image {}: {}", shown(place.where), error.message));
        }
        const ImageFile& top = chain_.files.front();
        const RepositoryPath first{.repository = top.repository, .path = top.path};
        if (first == place.where) {
            return fail(error.code, fmt::format("image {}: {}", shown(first), error.message));
        }
        return fail(error.code, fmt::format("image {}: its backing file {}: {}", shown(first),
                                            shown(place.where), error.message));
    }

    const std::vector<Repository>& repositories_;
    const Access access_;
    const std::chrono::milliseconds settle_;
    OpenChain chain_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> seen_;  // device and inode
};

}  // namespace

bool is_later(const timespec& a, const timespec& b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

bool is_unsettled(const CheckedFile& file, std::chrono::milliseconds settle) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    const auto age = std::chrono::seconds(now.tv_sec - file.changed.tv_sec) +
                     std::chrono::nanoseconds(now.tv_nsec - file.changed.tv_nsec);
    return file.being_written || (age >= age.zero() && age < settle);
}

Result<OpenChain> open_chain(const std::vector<Repository>& repositories, const RepositoryPath& top,
                             ImageFormat format, Access access, std::chrono::milliseconds settle) {
    if (format == ImageFormat::virtnbdbackup) {
        return open_backup_chain(repositories, top, access, settle);
    }
    return ChainOpener(repositories, access, settle).open(Place{.where = top, .format = format});
}

}  // namespace signpost
