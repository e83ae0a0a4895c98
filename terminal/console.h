// SPDX-License-Identifier: BSD-3-Clause
//
// Console is where a verb's words go: data to standard output, everything else to standard error.
// It knows whether each is a terminal, and so whether there is colour, progress and anybody to ask.
//
// Output is buffered. A reader that went away (`signpost ls | head`) is no error: out() then
// returns false, and the verb stops. Any other failed write is kept and reported by finish().
//
// Lifetime: built by main; descriptors stay open. Threads: one.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "terminal/outcome.h"

namespace signpost {

enum class ColorMode { automatic, always, never };
enum class Tone { plain, good, warning, bad, faint };

class Console {
   public:
    // INPUT, OUTPUT, ERRORS: file descriptors.
    Console(int input, int output, int errors);
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

    void set_color(ColorMode mode);

    // Adds TEXT to standard output as it is. False: nobody reads any more.
    bool out(std::string_view text);

    // One line to standard error, at once; after what was written to standard output so far.
    void note(std::string_view line);

    // Replaces the last progress line; an empty LINE removes it. Nothing unless there is a
    // terminal.
    void progress(std::string_view line);

    // A yes-or-no question, asked only where somebody can answer; else false.
    bool ask(std::string_view question);

    // A question as it stands, and the line that answers it. Empty: there is nobody who could, or
    // he has ended the input.
    std::optional<std::string> ask_line(std::string_view question);

    bool can_ask() const { return input_is_terminal_ && errors_are_terminal_; }
    bool output_is_terminal() const { return output_is_terminal_; }
    bool shows_progress() const { return errors_are_terminal_; }

    // TEXT in the tone's colour, if standard output has colours.
    std::string toned(Tone tone, std::string_view text) const;

    // Writes what is buffered. Fails when a write did, unless the reader just went away.
    Outcome<void> finish();

   private:
    void flush();

    int input_;
    int output_;
    int errors_;
    bool input_is_terminal_;
    bool output_is_terminal_;
    bool errors_are_terminal_;
    bool color_ = false;
    bool progress_shown_ = false;
    std::string buffer_;
    int output_error_ = 0;  // errno of the first failed write
};

}  // namespace signpost
