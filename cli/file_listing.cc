// SPDX-License-Identifier: BSD-3-Clause

#include "cli/file_listing.h"

#include <fmt/format.h>

#include "cli/federation_view.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

constexpr std::size_t kRowsAtOnce = 1000;

const std::vector<Column> kColumns = {{"disk"},       {"mode"},     {"owner"},       {"group"},
                                      {"size", true}, {"modified"}, {"inode", true}, {"name"}};

TableStyle style_of(const Options& options, bool with_disk) {
    TableStyle style = options.table;
    if (style.columns.empty()) {
        style.columns = {"mode", "owner", "group", "size", "modified", "name"};
        if (with_disk) {
            style.columns.insert(style.columns.begin(), "disk");
        }
    }
    return style;
}

char type_letter(files::FileType type) {
    switch (type) {
        case files::FileType::regular:
            return '-';
        case files::FileType::directory:
            return 'd';
        case files::FileType::symlink:
            return 'l';
        case files::FileType::block_device:
            return 'b';
        case files::FileType::character_device:
            return 'c';
        case files::FileType::fifo:
            return 'p';
        case files::FileType::socket:
            return 's';
        case files::FileType::unknown:
            break;
    }
    return '?';
}

// "drwxr-sr-t"
std::string mode_text(const files::Entry& entry) {
    std::string text(1, type_letter(entry.type));
    constexpr std::string_view kLetters = "rwxrwxrwx";
    if (entry.mode == 0) {
        return text + "?????????";  // the file system, or who reads it, knows none
    }
    for (unsigned i = 0; i < kLetters.size(); ++i) {
        text += (entry.mode >> (8 - i) & 1) != 0 ? kLetters[i] : '-';
    }
    const auto special = [&](std::size_t at, unsigned bit, char letter) {
        if ((entry.mode & bit) != 0) {
            text[at] = text[at] == 'x' ? letter : static_cast<char>(letter - 'a' + 'A');
        }
    };
    special(3, 04000, 's');
    special(6, 02000, 's');
    special(9, 01000, 't');
    return text;
}

std::string name_text(const Console& console, const FileLine& line) {
    std::string text = shown_name(console, line.path);
    if (line.entry.type == files::FileType::symlink && !line.entry.target.empty()) {
        text += " -> " + shown_name(console, line.entry.target);
    }
    return text + (line.entry.deleted ? " (deleted)" : "");
}

}  // namespace

FileListing::FileListing(const Context& context, Form form, bool with_disk)
    : context_(context),
      form_(form),
      with_disk_(with_disk),
      table_(kColumns, style_of(context.options, with_disk)) {}

Outcome<void> FileListing::check(const Options& options) {
    return check_columns(options.table.columns, kColumns);
}

bool FileListing::add(FileLine line) {
    ++count_;
    if (context_.options.json == JsonMode::whole) {
        lines_.push_back(std::move(line));
        return true;
    }
    if (context_.options.json == JsonMode::lines) {
        return context_.console.out(file_json(line, false) + "\n");
    }
    if (form_ == Form::details) {
        add_row(line);
        return ++rows_ % kRowsAtOnce != 0 || table_.write(context_.console);
    }
    const std::string disk = with_disk_ ? line.disk + ":" : "";
    return context_.console.out(fmt::format("{}{}\n", shown_name(context_.console, disk),
                                            line.entry.deleted
                                                ? name_text(context_.console, line)
                                                : shown_name(context_.console, line.path)));
}

void FileListing::add_row(const FileLine& line) {
    const files::Entry& entry = line.entry;
    const bool has_size = entry.type == files::FileType::regular;
    const std::string modified = rfc3339(entry.modified);
    table_.add({{shown_name(context_.console, line.disk)},
                {mode_text(entry)},
                {entry.uid == 0 ? "root" : std::to_string(entry.uid)},
                {entry.gid == 0 ? "root" : std::to_string(entry.gid)},
                {has_size ? shown_size(context_.options, entry.size) : "-"},
                {modified.empty() ? "-" : modified},
                {std::to_string(entry.inode)},
                {name_text(context_.console, line), entry.deleted ? Tone::faint : Tone::plain}});
}

void FileListing::finish() {
    if (context_.options.json == JsonMode::whole) {
        context_.console.out(files_json(lines_) + "\n");
    }
    table_.write(context_.console);
}

}  // namespace signpost
