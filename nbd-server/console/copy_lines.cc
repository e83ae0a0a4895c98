// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/copy_lines.h"

#include <fmt/format.h>

#include <algorithm>

namespace signpost {

namespace {

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._/:@+,=").find(c) != std::string_view::npos;
}

// For an attribute in double or single quotes.
std::string xml_text(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '\'':
                result += "&apos;";
                break;
            case '"':
                result += "&quot;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string attach_xml(const NbdUri& uri) {
    const std::string host =
        uri.is_unix()
            ? fmt::format("<host transport='unix' socket='{}'/>", xml_text(uri.socket_path))
            : fmt::format("<host name='{}' port='{}'/>", xml_text(uri.host), uri.port);
    return fmt::format(
        "<disk type='network' device='disk'>\n"
        "  <driver name='qemu' type='raw'/>\n"
        "  <source protocol='nbd' name='{}'{}>\n"
        "    {}\n"
        "  </source>\n"
        "  <target dev='vdz' bus='virtio'/>\n"
        "  <readonly/>\n"
        "</disk>\n",
        xml_text(uri.export_name), uri.tls ? " tls='yes'" : "", host);
}

// Of a file to copy to: the disk's last component, without what a shell or a file system minds.
std::string file_name(std::string_view disk, std::string_view extension) {
    std::string name(disk.substr(disk.rfind('/') + 1));
    std::ranges::replace_if(
        name, [](char c) { return !is_plain(c) || c == ':' || c == '-'; }, '_');
    return name.substr(0, 100) + std::string(extension);
}

}  // namespace

std::string shell_word(std::string_view text) {
    if (!text.empty() && text.front() != '-' && std::ranges::all_of(text, is_plain)) {
        return std::string(text);
    }
    std::string word = "'";
    for (const char c : text) {
        word += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    return word + "'";
}

std::optional<DiskLines> copy_lines(const std::string& server, const std::string& disk) {
    const auto parsed = NbdUri::parse(server);
    if (!parsed) {
        return std::nullopt;
    }
    const NbdUri uri = parsed->with_export(disk);
    const std::string word = shell_word(uri.str());
    DiskLines result{.uri = uri.str(), .lines = {}};
    result.lines = {
        {"nbdinfo", fmt::format("nbdinfo {}", word)},
        {"nbdcopy", fmt::format("nbdcopy -p {} {}", word, file_name(disk, ".img"))},
        {"qemu-img",
         fmt::format("qemu-img convert -p -O qcow2 {} {}", word, file_name(disk, ".qcow2"))},
        {"overlay", fmt::format("qemu-img create -f qcow2 -F raw -b {} {}", word,
                                file_name(disk, ".overlay.qcow2"))},
        {"guestfish", fmt::format("guestfish --ro --format=raw -a {} -i", word)},
        {"virt-install", fmt::format("virt-install --import --name restored --memory 2048 --osinfo "
                                     "detect=on,require=off --disk {}",
                                     word)},
        {"attach-xml", attach_xml(uri)},
        {"files", fmt::format("signpost files ls {}", shell_word(disk + ":/"))},
        {"where", fmt::format("signpost where --check {}", shell_word(disk))},
    };
    return result;
}

}  // namespace signpost
