// SPDX-License-Identifier: BSD-3-Clause

#include "cli/file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A reader has two minutes of processor time for each question; it waits for nobody but us.
constexpr seconds kReaderPatience{150};
// GRUB waits for the disk by FUSE, and is seen to work by what comes from there; but not for ever.
constexpr seconds kGrubPatience{60};
constexpr seconds kLongestByGrub{600};
// A relay gives up after its peer-timeout and says so; that is seconds.
constexpr seconds kDiskPatience{60};
constexpr seconds kStagePatience{20};
constexpr int kEndPatience = 500;  // milliseconds
constexpr milliseconds kTurn{1000};
constexpr std::size_t kMostPieces = 100'000;
constexpr char kUnlockProgram[] = "signpost-unlock";

// Beside the command, as it is built; else where it is installed, below whatever prefix.
std::string program_path(const char* name) {
    std::error_code error;
    const auto directory = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    const auto beside = directory / name;
    if (!error && ::access(beside.c_str(), X_OK) == 0) {
        return beside.string();
    }
    return (directory / SIGNPOST_PROGRAMS / name).lexically_normal().string();
}

Errc errc_of(files::End::Status status) {
    switch (status) {
        case files::End::Status::ok:
        case files::End::Status::not_found:
            return Errc::not_found;
        case files::End::Status::damaged:
            return Errc::corrupt;
        case files::End::Status::read_error:
            return Errc::io;
        case files::End::Status::unsupported:
        case files::End::Status::invalid:
            break;
    }
    return Errc::invalid;
}

std::string read_all(int fd) {
    std::string text(4096, '\0');
    const ssize_t got = ::read(fd, text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

}  // namespace

namespace {

struct Started {
    SpawnedHelper process;
    UniqueFd socket;
};

Result<Started> start_process(HelperCommand command, const char* program) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail(Errc::io, fmt::format("no socket for the file reader: {}", error_text(errno)));
    }
    UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    command.program = program_path(program);
    command.listener = theirs.get();
    auto process = spawn_helper(command);
    if (!process) {
        return std::unexpected(process.error());
    }
    return Started{std::move(*process), std::move(ours)};
}

// From a file, which may be a pipe.
Result<std::string> read_passphrase(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text(files::kMaxPassphrase + 1, '\0');
    std::size_t length = 0;
    ssize_t got = file ? 1 : -1;
    while (got > 0 && length < text.size()) {
        got = ::read(file.get(), text.data() + length, text.size() - length);
        length += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    }
    if (got < 0) {
        return fail(Errc::not_found, fmt::format("--key {}: {}", escaped(path), error_text(errno)));
    }
    if (length == 0 || length == text.size()) {
        return fail(Errc::not_found, fmt::format("--key {}: it is {}", escaped(path),
                                                 length == 0 ? "empty" : "too long"));
    }
    text.resize(length);
    return text;
}

}  // namespace

std::vector<std::string> FileReader::programs_of(const std::string& path) {
    const auto directory = std::filesystem::path(path).parent_path();
    return {directory.string(), (directory / SIGNPOST_PROGRAMS).lexically_normal().string()};
}

Result<std::unique_ptr<FileReader>> FileReader::start(DiskBlocks& disk) {
    auto started = start_process({}, kProgram);
    if (!started) {
        return std::unexpected(started.error());
    }
    std::unique_ptr<FileReader> reader(
        new FileReader({&disk}, std::move(started->process), std::move(started->socket)));
    reader->out_ = encode(files::Question(files::Begin{disk.size()}));
    return reader;
}

Result<files::Unlocked> FileReader::unlock(DiskBlocks& disk, const files::Volume& volume,
                                           const std::string& key_file) {
    auto passphrase = read_passphrase(key_file);
    if (!passphrase) {
        return std::unexpected(passphrase.error());
    }
    auto started = start_process({}, kUnlockProgram);
    if (!started) {
        return std::unexpected(started.error());
    }
    FileReader reader({&disk}, std::move(started->process), std::move(started->socket),
                      kUnlockProgram);
    reader.out_ = encode(files::Question(files::Begin{disk.size()}));
    std::optional<files::Unlocked> found;
    const See see = [&](files::Answer&& answer) -> Result<void> {
        auto* unlocked = std::get_if<files::Unlocked>(&answer);
        if (unlocked == nullptr || found || unlocked->volume.start < volume.start ||
            unlocked->volume.start - volume.start >= volume.length ||
            unlocked->volume.length > volume.length - (unlocked->volume.start - volume.start)) {
            return fail(Errc::invalid, "what unlocks answers with something else");
        }
        found = std::move(*unlocked);
        return {};
    };
    if (auto asked = reader.ask(files::AskUnlock{volume, std::move(*passphrase)}, see); !asked) {
        return std::unexpected(asked.error());
    }
    return found ? Result<files::Unlocked>(std::move(*found))
                 : fail(Errc::invalid, "what unlocks gives no answer");
}

Result<std::unique_ptr<FileReader>> FileReader::start_grub(std::vector<RawVolume> volumes) {
    HelperCommand command;
    command.confines_itself = true;
    command.arguments = {std::to_string(volumes.size())};
    auto started = start_process(std::move(command), kProgram);
    if (!started) {
        return std::unexpected(started.error());
    }
    std::vector<DiskBlocks*> disks;
    for (const RawVolume& volume : volumes) {
        if (std::ranges::find(disks, volume.disk) == disks.end()) {
            disks.push_back(volume.disk);
        }
    }
    std::unique_ptr<FileReader> reader(
        new FileReader(disks, std::move(started->process), std::move(started->socket)));
    auto received = reader->receive_fuse(std::move(volumes));
    return received ? Result<std::unique_ptr<FileReader>>(std::move(reader))
                    : std::unexpected(received.error());
}

// The first thing that it sends is the FUSE mount that it wants to be served.
Result<void> FileReader::receive_fuse(std::vector<RawVolume> volumes) {
    pollfd ready{socket_.get(), POLLIN, 0};
    ::poll(&ready, 1, static_cast<int>(milliseconds(kStagePatience).count()));
    char byte = 0;
    iovec content{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    const cmsghdr* head = CMSG_FIRSTHDR(&message);
    if (got != 1 || head == nullptr || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN(sizeof(int))) {
        return give_up({Errc::denied, fmt::format("no place for GRUB's file systems: {}",
                                                  escaped(read_all(process_.errors.get()), 300))});
    }
    int fuse = -1;
    std::memcpy(&fuse, CMSG_DATA(head), sizeof fuse);
    auto raw = RawView::serve(UniqueFd(fuse), std::move(volumes));
    if (!raw) {
        return std::unexpected(raw.error());
    }
    raw_ = std::move(*raw);
    return {};
}

FileReader::FileReader(std::vector<DiskBlocks*> disks, SpawnedHelper process, UniqueFd socket,
                       const char* program)
    : disks_(std::move(disks)),
      process_(std::move(process)),
      program_(program),
      socket_(std::move(socket)) {}

FileReader::~FileReader() {
    if (process_.pid > 0) {
        // What GRUB runs in is a tree of processes: it ends from within when nobody is there.
        raw_.reset();
        socket_.reset();
        pollfd ended{process_.pidfd.get(), POLLIN, 0};
        ::poll(&ended, 1, kEndPatience);
        ::kill(process_.pid, SIGKILL);
        ::waitpid(process_.pid, nullptr, 0);
    }
}

std::unexpected<Error> FileReader::give_up(Error error) {
    if (!broken_) {
        broken_ = std::move(error);
    }
    return std::unexpected(*broken_);
}

// The socket's end: how the process ended, and what it said.
std::unexpected<Error> FileReader::ended() {
    int status = 0;
    ::kill(process_.pid, SIGKILL);  // it may have closed its socket only
    ::waitpid(process_.pid, &status, 0);
    process_.pid = -1;
    const std::string words = read_all(process_.errors.get());
    if (WIFEXITED(status) && WEXITSTATUS(status) == kHelperNotExecuted) {
        return give_up({Errc::io, fmt::format("{} cannot be started; is it installed?",
                                              escaped(program_path(program_)))});
    }
    const std::string how = WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                                                : fmt::format("status {}", WEXITSTATUS(status));
    return give_up({Errc::corrupt,
                    fmt::format("the file reader ended ({}): the file system is damaged or hostile"
                                "{}{}",
                                how, words.empty() ? "" : "; it said: ", escaped(words))});
}

Result<void> FileReader::send() {
    while (!out_.empty()) {
        const ssize_t sent = ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR ? Result<void>() : ended();
        }
        out_.erase(0, static_cast<std::size_t>(sent));
    }
    return {};
}

Result<void> FileReader::receive() {
    constexpr std::size_t kPiece = 256 * 1024;
    const std::size_t before = in_.size();
    in_.resize(before + kPiece);
    const ssize_t got = ::recv(socket_.get(), in_.data() + before, kPiece, 0);
    const int error = errno;
    in_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0 || (got < 0 && error != EAGAIN && error != EINTR)) {
        return ended();
    }
    last_word_ = Clock::now();
    return take_frames();
}

Result<void> FileReader::take_frames() {
    std::size_t at = 0;
    // Whoever wants something says nothing more until it has it.
    while (!want_) {
        const std::string_view rest = std::string_view(in_).substr(at);
        const auto length = files::frame_length(rest);
        if (!length) {
            return give_up(length.error());
        }
        if (!*length) {
            break;
        }
        auto answer = files::decode_answer(rest.substr(files::kFrameHead, **length));
        if (!answer) {
            return give_up(answer.error());
        }
        at += files::kFrameHead + **length;
        if (const auto* want = std::get_if<files::Want>(&*answer)) {
            want_ = *want;
        } else if (const auto* ahead = std::get_if<files::Ahead>(&*answer)) {
            for (const files::Range& range : ahead->ranges) {
                disk().ahead(range.offset, range.length);
            }
        } else if (auto* end = std::get_if<files::End>(&*answer)) {
            end_ = std::move(*end);
        } else if (see_ == nullptr || end_) {
            return give_up({Errc::invalid, "the file reader says what it was not asked"});
        } else if (auto seen = (*see_)(std::move(*answer)); !seen) {
            return give_up(seen.error());
        }
    }
    in_.erase(0, at);
    return {};
}

Result<void> FileReader::serve_want() {
    if (!want_) {
        return {};
    }
    std::string bytes(want_->length, '\0');
    const auto look = disk().look(want_->offset, std::as_writable_bytes(std::span(bytes)));
    if (look == DiskBlocks::Look::coming) {
        return {};
    }
    const bool here = look == DiskBlocks::Look::here;
    out_ += encode(files::Question(files::Supply{here ? 0U : EIO, here ? bytes : ""}));
    want_.reset();
    last_word_ = Clock::now();
    return take_frames();  // it may have said more than it should; then this says so
}

Result<void> FileReader::check_patience() {
    const auto now = Clock::now();
    std::uint64_t replies = 0;
    std::size_t reads = 0;
    for (const DiskBlocks* disk : disks_) {
        replies += disk->replies();
        reads += disk->reads_in_flight();
    }
    if (replies != replies_) {
        last_news_ = now;
    }
    if (replies != replies_ || reads == 0) {
        replies_ = replies;
        last_reply_ = now;
    }
    if (now - last_reply_ > kDiskPatience) {
        return give_up(
            {Errc::unavailable,
             fmt::format("the disk's server has not answered for {} s", kDiskPatience.count())});
    }
    const bool silent = raw_ ? now - std::max(last_word_, last_news_) > kGrubPatience ||
                                   now - last_word_ > kLongestByGrub
                             : now - last_word_ > kReaderPatience;
    if (see_ != nullptr && !want_ && silent) {
        return give_up({Errc::corrupt,
                        "the file reader does not come to an end: the file system "
                        "is damaged or hostile"});
    }
    return {};
}

Result<void> FileReader::turn(milliseconds wait, int also) {
    if (broken_) {
        return std::unexpected(*broken_);
    }
    if (auto served = serve_want(); !served) {
        return served;
    }
    if (auto sent = send(); !sent) {
        return sent;
    }
    std::vector<pollfd> fds;
    const int events = (want_ ? 0 : POLLIN) | (out_.empty() ? 0 : POLLOUT);
    fds.push_back({socket_.get(), static_cast<short>(events), 0});
    fds.push_back({raw_ ? raw_->fd() : -1, POLLIN, 0});
    for (const DiskBlocks* disk : disks_) {
        fds.push_back(disk->waiting());
    }
    fds.push_back({also, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), static_cast<int>(wait.count())) < 0 && errno != EINTR) {
        return give_up({Errc::io, fmt::format("poll: {}", error_text(errno))});
    }
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        if (const short came = fds[2 + i].revents; came != 0) {
            if (auto moved = disks_[i]->moved(came); !moved) {
                return give_up(moved.error());
            }
        }
    }
    if (raw_) {
        raw_->turn(fds[1].revents != 0);
    }
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        if (auto received = receive(); !received) {
            return received;
        }
    }
    return check_patience();
}

Result<void> FileReader::ask(const files::Question& question, const See& see) {
    if (broken_) {
        return std::unexpected(*broken_);
    }
    out_ += encode(question);
    see_ = &see;
    end_.reset();
    last_word_ = Clock::now();
    Result<void> turned;
    while (!end_ && turned) {
        turned = turn(kTurn);
    }
    see_ = nullptr;
    if (!turned) {
        return turned;
    }
    return end_->status == files::End::Status::ok
               ? Result<void>()
               : fail(errc_of(end_->status), escaped(end_->message, 400));
}

Result<std::vector<files::Partition>> FileReader::partitions() {
    std::vector<files::Partition> partitions;
    const See see = [&](files::Answer&& answer) -> Result<void> {
        auto* partition = std::get_if<files::Partition>(&answer);
        if (partition == nullptr || partition->volume.start > disk().size() ||
            partition->volume.length > disk().size() - partition->volume.start ||
            partitions.size() >= 4096) {
            return fail(Errc::invalid, "the file reader answers with something else");
        }
        partitions.push_back(std::move(*partition));
        return {};
    };
    auto asked = ask(files::AskPartitions{}, see);
    return asked ? Result<std::vector<files::Partition>>(std::move(partitions))
                 : std::unexpected(asked.error());
}

Result<files::Entry> FileReader::find(const files::AskPath& question) {
    std::optional<files::Entry> found;
    const See see = [&](files::Answer&& answer) -> Result<void> {
        auto* entry = std::get_if<files::Entry>(&answer);
        if (entry == nullptr || found) {
            return fail(Errc::invalid, "the file reader answers with something else");
        }
        found = std::move(*entry);
        return {};
    };
    if (auto asked = ask(question, see); !asked) {
        return std::unexpected(asked.error());
    }
    return found ? Result<files::Entry>(std::move(*found))
                 : fail(Errc::invalid, "the file reader gives no answer");
}

Result<void> FileReader::list(const files::AskList& question,
                              const std::function<void(files::Entry)>& see) {
    return ask(question, [&](files::Answer&& answer) -> Result<void> {
        auto* entry = std::get_if<files::Entry>(&answer);
        if (entry == nullptr || entry->name.empty()) {
            return fail(Errc::invalid, "the file reader answers with something else");
        }
        see(std::move(*entry));
        return {};
    });
}

Result<std::vector<files::Piece>> FileReader::pieces(const files::AskPieces& question) {
    std::vector<files::Piece> pieces;
    std::uint64_t at = question.offset;
    const See see = [&](files::Answer&& answer) -> Result<void> {
        auto* piece = std::get_if<files::Piece>(&answer);
        if (piece == nullptr || piece->offset != at || pieces.size() >= kMostPieces ||
            piece->length > question.offset + question.length - at) {
            return fail(Errc::invalid, "the file reader answers with something else");
        }
        if (piece->kind == files::Piece::Kind::disk &&
            (piece->disk_offset > disk().size() ||
             piece->length > disk().size() - piece->disk_offset)) {
            return fail(Errc::invalid, "the file reader says that a file lies beyond the disk");
        }
        at += piece->length;
        pieces.push_back(std::move(*piece));
        return {};
    };
    auto asked = ask(question, see);
    return asked ? Result<std::vector<files::Piece>>(std::move(pieces))
                 : std::unexpected(asked.error());
}

}  // namespace signpost
