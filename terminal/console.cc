// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace signpost {

namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::size_t kLongestAnswer = 4096;

// 0 or an errno value. Standard output may be a non-blocking pipe that somebody else made.
int write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written >= 0) {
            text.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno == EAGAIN) {
            pollfd ready{fd, POLLOUT, 0};
            ::poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

bool environment_wants_color() {
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    return (no_color == nullptr || *no_color == '\0') && term != nullptr &&
           std::strcmp(term, "dumb") != 0;
}

std::string_view escape_sequence(Tone tone) {
    switch (tone) {
        case Tone::good:
            return "\x1b[32m";
        case Tone::warning:
            return "\x1b[33m";
        case Tone::bad:
            return "\x1b[31m";
        case Tone::faint:
            return "\x1b[2m";
        case Tone::plain:
            break;
    }
    return "";
}

}  // namespace

Console::Console(int input, int output, int errors)
    : input_(input),
      output_(output),
      errors_(errors),
      input_is_terminal_(::isatty(input) == 1),
      output_is_terminal_(::isatty(output) == 1),
      errors_are_terminal_(::isatty(errors) == 1) {
    set_color(ColorMode::automatic);
}

void Console::set_color(ColorMode mode) {
    color_ = mode == ColorMode::always ||
             (mode == ColorMode::automatic && output_is_terminal_ && environment_wants_color());
}

bool Console::out(std::string_view text) {
    progress("");
    buffer_ += text;
    if (buffer_.size() >= kBufferBytes || output_is_terminal_) {
        flush();
    }
    return output_error_ == 0;
}

void Console::note(std::string_view line) {
    flush();
    progress("");
    write_all(errors_, fmt::format("{}\n", line));
}

void Console::progress(std::string_view line) {
    if (!errors_are_terminal_ || (line.empty() && !progress_shown_)) {
        return;
    }
    write_all(errors_, fmt::format("\r\x1b[K{}", line));
    progress_shown_ = !line.empty();
}

bool Console::ask(std::string_view question) {
    const auto answer = ask_line(fmt::format("{} [y/N] ", question));
    return answer == "y" || answer == "Y" || answer == "yes";
}

std::optional<std::string> Console::ask_line(std::string_view question) {
    if (!can_ask()) {
        return std::nullopt;
    }
    flush();
    progress("");
    write_all(errors_, question);
    std::string answer;
    char byte = 0;
    while (answer.size() < kLongestAnswer) {
        if (::read(input_, &byte, 1) != 1) {
            return std::nullopt;
        }
        if (byte == '\n') {
            return answer;
        }
        answer += byte;
    }
    return std::nullopt;
}

std::string Console::toned(Tone tone, std::string_view text) const {
    if (!color_ || tone == Tone::plain) {
        return std::string(text);
    }
    return fmt::format("{}{}\x1b[0m", escape_sequence(tone), text);
}

void Console::flush() {
    if (output_error_ == 0 && !buffer_.empty()) {
        output_error_ = write_all(output_, buffer_);
    }
    buffer_.clear();
}

Outcome<void> Console::finish() {
    flush();
    progress("");
    if (output_error_ != 0 && output_error_ != EPIPE) {
        return failure(ExitCode::failed, fmt::format("cannot write to standard output: {}; make "
                                                     "room, or send it elsewhere",
                                                     std::strerror(output_error_)));
    }
    return {};
}

}  // namespace signpost
