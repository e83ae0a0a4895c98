// SPDX-License-Identifier: BSD-3-Clause

#include "files/grub_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "files/stage_root.h"
#include "files/tree_volume.h"

namespace signpost::files {

namespace {

constexpr std::size_t kMaxOutput = 256 * 1024;
constexpr rlim_t kAddressSpace = rlim_t{2} << 30;
constexpr rlim_t kSeconds = 3600;

bool send_descriptor(int socket, int fd) {
    char byte = 'F';
    iovec content{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return ::sendmsg(socket, &message, 0) == 1;
}

void limit(__rlimit_resource resource, rlim_t value) {
    const rlimit wanted{value, value};
    ::setrlimit(resource, &wanted);
}

struct Run {
    int status = -1;  // of exit; -1: it did not run, or was killed
    std::string output;
};

// Runs a program to its end, and takes what it says on either output.
Run run(std::vector<std::string> words) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return {};
    }
    const UniqueFd from(ends[0]);
    UniqueFd to(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
        limit(RLIMIT_AS, kAddressSpace);
        limit(RLIMIT_CPU, kSeconds);
        ::dup2(to.get(), STDOUT_FILENO);
        ::dup2(to.get(), STDERR_FILENO);
        std::vector<char*> arguments;
        for (std::string& word : words) {
            arguments.push_back(word.data());
        }
        arguments.push_back(nullptr);
        ::execv(words.front().c_str(), arguments.data());
        ::_exit(127);
    }
    to.reset();
    Run result;
    std::array<char, 4096> buffer{};
    // One that has become a daemon has let go of its outputs.
    for (ssize_t got = 1; got > 0 && result.output.size() < kMaxOutput;) {
        got = ::read(from.get(), buffer.data(), buffer.size());
        result.output.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    int status = 0;
    if (child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status)) {
        result.status = WEXITSTATUS(status);
    }
    return result;
}

std::string_view between(std::string_view text, std::string_view before, std::string_view after) {
    const std::size_t begin = text.find(before);
    if (begin == text.npos) {
        return {};
    }
    text.remove_prefix(begin + before.size());
    return text.substr(0, text.find_first_of(after));
}

class Stage {
   public:
    Stage(DiskLink& link, unsigned volumes) : link_(link), count_(volumes) {}

    End answer(const Question& question) {
        return std::visit([this](const auto& asked) { return answer(asked); }, question);
    }

   private:
    End answer(const Begin& /*question*/) { return {}; }
    End answer(const Supply& /*question*/) { return {}; }
    End answer(const AskUnlock& /*question*/) { return {End::Status::invalid, "no passphrase"}; }

    End answer(const AskPartitions& /*question*/) {
        const End known = look();
        for (std::size_t i = 0; i < devices_.size(); ++i) {
            link_.say(devices_[i]);
        }
        return known;
    }
    End answer(const AskPath& question) {
        return with_tree(question.volume, [&](TreeVolume& tree) {
            Entry entry;
            End end = tree.find(question, entry);
            if (end.status == End::Status::ok) {
                link_.say(entry);
            }
            return end;
        });
    }
    End answer(const AskList& question) {
        return with_tree(question.volume, [&](TreeVolume& tree) {
            return tree.list(question, [this](const Entry& entry) { link_.say(entry); });
        });
    }
    End answer(const AskPieces& question) {
        return with_tree(question.volume, [&](TreeVolume& tree) {
            return tree.pieces(question, [this](const Piece& piece) { link_.say(piece); });
        });
    }

    // PROGRAM over all volumes, and what else is to be said before and behind them.
    Run run_grub(const std::string& program, const std::vector<std::string>& before,
                 const std::vector<std::string>& behind) {
        std::vector<std::string> words{program};
        words.insert(words.end(), before.begin(), before.end());
        for (unsigned i = 0; i < count_; ++i) {
            words.push_back(fmt::format("{}/{}", kDisks, i));
        }
        words.insert(words.end(), behind.begin(), behind.end());
        return run(std::move(words));
    }

    End look();
    void add_device(std::string_view line);
    End mount(std::size_t index);

    template <class Use>
    End with_tree(const Volume& wanted, Use use) {
        if (devices_.empty()) {
            look();
        }
        if (wanted.start >= devices_.size()) {
            return {End::Status::invalid, "GRUB has no such device"};
        }
        auto found = trees_.find(wanted.start);
        if (found == trees_.end()) {
            if (End mounted = mount(wanted.start); mounted.status != End::Status::ok) {
                return mounted;
            }
            found = trees_.find(wanted.start);
        }
        return use(found->second);
    }

    DiskLink& link_;
    unsigned count_;
    std::vector<Partition> devices_;
    std::map<std::uint64_t, TreeVolume> trees_;
};

End Stage::look() {
    devices_.clear();
    const Run listed = run_grub("/usr/bin/grub-fstest", {fmt::format("--diskcount={}", count_)},
                                {"ls", "--", "-l"});
    if (listed.status == 127) {
        return {End::Status::unsupported, "grub-fstest is missing: install grub-common"};
    }
    for (std::string_view rest = listed.output; !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        add_device(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (listed.status != 0 && devices_.empty()) {
        return {End::Status::unsupported, listed.output.substr(0, 400)};
    }
    return {};
}

// "Device lvm/vg0-root: Filesystem type xfs - Label `root', UUID 2ef9… - … Total size 327680KiB"
void Stage::add_device(std::string_view line) {
    const std::string_view name = between(line, "Device ", ":");
    const std::string_view type = between(line, "Filesystem type ", " ,");
    const std::size_t at = line.find("Device ");
    if (at == line.npos || name.empty() || type.empty() || name == "host" || name == "proc") {
        return;
    }
    Partition device;
    device.number = static_cast<std::uint32_t>(devices_.size());
    device.volume = {devices_.size(), 0};
    device.name = name;
    device.file_system = type;
    device.label = between(line, "Label `", "'");
    device.uuid = between(line, "UUID ", " ,");
    device.readable = true;
    devices_.push_back(std::move(device));
}

End Stage::mount(std::size_t index) {
    const std::string directory = fmt::format("{}/{}", kTrees, index);
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
        return {End::Status::unsupported, "no directory to mount on"};
    }
    const Run mounted = run_grub("/usr/bin/grub-mount", {"-r", devices_[index].name}, {directory});
    struct stat above {};
    struct stat there {};
    if (mounted.status != 0 || ::stat(kTrees, &above) != 0 ||
        ::stat(directory.c_str(), &there) != 0 || above.st_dev == there.st_dev) {
        return {End::Status::unsupported, mounted.output.empty() ? "grub-mount does not mount it"
                                                                 : mounted.output.substr(0, 400)};
    }
    trees_.emplace(index, TreeVolume(directory));
    return {};
}

}  // namespace

std::string serve_by_grub(int socket, unsigned volumes) {
    if (auto entered = enter_namespaces(); !entered) {
        return entered.error().message;
    }
    auto fuse = make_root();
    if (!fuse) {
        return fuse.error().message;
    }
    limit(RLIMIT_CORE, 0);
    if (!send_descriptor(socket, fuse->get())) {
        return "the command has gone";
    }
    fuse->reset();
    DiskLink link(socket);
    Stage stage(link, volumes);
    for (;;) {
        const Question question = link.next();
        link.say(stage.answer(question));
    }
}

}  // namespace signpost::files
