#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The house rules that a program can check. CONTRIBUTING.md says them in words.

    tidy.py [--root DIR] [--sizes]

Reads the files of the tree as they are on disk, whatever has been committed, and prints one line
`FILE:LINE: what is wrong` per breach; status 1 when there is any. --sizes prints how long functions
and files are instead. tidy_test.py has a bad sample for each rule.
"""

import argparse
import collections
import os
import re
import sys

MAX_WIDTH = 100
MAX_FUNCTION_LINES = 70
DUPLICATE_LINES = 12

SKIPPED_FOLDERS = {".git", "build", "corpus", "__pycache__"}
CODE = (".cc", ".h")
SCRIPTS = (".sh", ".py")
CHECKED_NAMES = {"CMakeLists.txt", "run", "check", "install-packages", "packages.txt", "signpost"}
CHECKED_ENDINGS = CODE + SCRIPTS + (".cmake", ".md", ".pod", ".toml")

# Who may include whom: the rooms of ARCHITECTURE.md. A room may always include itself.
ROOMS = {
    "catalog": set(),
    "nbd-server/wire": set(),
    "nbd-server/disk": {"catalog", "nbd-server/wire"},
    "nbd-server/http": {"catalog", "nbd-server/disk"},
    "nbd-server/console": {"catalog", "nbd-server/disk", "nbd-server/http", "terminal", "cli"},
    "nbd-server/server": {"catalog", "nbd-server/wire", "nbd-server/disk", "nbd-server/http",
                          "nbd-server/console"},
    "nbdkit-plugin": {"catalog", "nbd-server/wire", "nbd-server/disk"},
    "terminal": {"catalog", "nbd-server/wire", "nbd-server/disk"},
    "libvirt-pool": {"catalog", "nbd-server/wire", "nbd-server/disk", "terminal"},
    "files": {"catalog", "nbd-server/wire", "nbd-server/disk"},
    "cli": {"catalog", "nbd-server/wire", "nbd-server/disk", "nbd-server/http", "terminal",
            "files"},
}

# Headers that cost seconds per compilation, or tie a file to a library: exactly where they are.
HEAVY_HEADERS = {
    "CLI/": {
        "cli/command_line.cc",
        "libvirt-pool/pool_command_line.cc",
        "nbd-server/server/command_line.cc",
    },
    "gnutls/": {
        "cli/catalog_file.cc",
        "cli/certificate_facts.cc",
        "cli/sector_cipher.cc",
        "nbd-server/disk/digest_tree.cc",
        "nbd-server/disk/piece_digests.cc",
        "nbd-server/disk/image_fingerprint.cc",
        "nbd-server/disk/tls.cc",
        "nbd-server/disk/tls_credentials.h",
        "nbd-server/disk/tls_records.h",
        "nbd-server/http/page.cc",
        "nbd-server/server/peer_certificate.cc",
        "nbd-server/server/server_credentials.cc",
        "nbd-server/server/server_credentials.h",
        "nbd-server/server/ticket.cc",
        "nbd-server/server/tls_server.cc",
    },
    "libnbd.h": {"cli/peer.cc", "libvirt-pool/disk_start.cc"},
    "libpq": {
        "catalog/postgres_connection.cc",
        "catalog/postgres_dial.cc",
        "catalog/postgres_uri.cc",
    },
    "microhttpd.h": set(),
    "crypt.h": {"nbd-server/http/sign_in.cc"},
    "curl/": {"cli/control_client.cc"},
    "microhttpd.h": {"nbd-server/http/http_server.cc"},
    "nlohmann/": {
        "cli/catalog_file.cc",
        "cli/drill_history.cc",
        "cli/files_json.cc",
        "cli/json_output.cc",
        "cli/qemu_monitor.cc",
        "libvirt-pool/pool_json.cc",
        "nbd-server/console/api_json.cc",
        "nbd-server/disk/backup_json.cc",
        "nbd-server/disk/qemu_nbd_command.cc",
        "nbd-server/disk/stub_note.cc",
        "nbd-server/http/session_report.cc",
        "nbd-server/server/ticket_json.cc",
    },
    "spdlog/": set(),
    "sqlite3.h": {"catalog/sqlite_schema.cc", "catalog/sqlite_statement.cc"},
    "toml++/": {"nbd-server/disk/toml.h"},
}

BANNED_CALLS = {
    "atoi": "std::from_chars, which says when the text is no number",
    "atol": "std::from_chars, which says when the text is no number",
    "atoll": "std::from_chars, which says when the text is no number",
    "gets": "std::getline",
    "popen": "posix_spawn with an argument list",
    "rand": "std::random_device or an engine with a seed",
    "sprintf": "fmt::format",
    "srand": "std::random_device or an engine with a seed",
    "strcat": "std::string",
    "strcpy": "std::string",
    "strtok": "std::string_view and find",
    "system": "posix_spawn with an argument list",
    "vsprintf": "fmt::format",
}
BANNED_CALL = re.compile(r"(?<![\w.>])(?:std::|::)?(" + "|".join(BANNED_CALLS) + r")\s*\(")
BANNED_STREAM = re.compile(r"\bstd::(cout|cerr|clog|cin|endl)\b|#\s*include\s*<iostream>")
USING_NAMESPACE = re.compile(r"^\s*using\s+namespace\s+(?!\S*_literals\b)(\S+);")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
VAGUE_CLASS = re.compile(r"\b(?:class|struct)\s+(\w*(?:Manager|Helper|Util|Utils|Handler))\b")
AGREED_NAMES = {"FormatHelper", "SpawnedHelper"}  # "helper" is the field's word for such a process

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
SPDX = "SPDX-License-Identifier: BSD-3-Clause"


class Breaches:
    def __init__(self):
        self.lines = []

    def add(self, path, number, message):
        self.lines.append((path, number, message))


def is_checked(name, first_line):
    return (name in CHECKED_NAMES or name.endswith(CHECKED_ENDINGS)
            or first_line.startswith("#!") and "sh" in first_line)


def read_tree(root):
    """The files that the rules are for: path from the root, and lines."""
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            with open(path, "rb") as file:
                head = file.readline(200).decode("utf-8", "replace")
                if not is_checked(name, head):
                    continue
                text = head + file.read().decode("utf-8", "replace")
            files[os.path.relpath(path, root)] = text.splitlines()
    return files


def check_lines(path, lines, breaches):
    is_text = path.endswith((".md", ".pod"))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_WIDTH and not (is_text and (line.startswith("|") or "](" in line)):
            breaches.add(path, number, f"{len(line)} columns; the width is {MAX_WIDTH}")
        if "\t" in line:
            breaches.add(path, number, "a tab; indent with spaces")
        if line != line.rstrip():
            breaches.add(path, number, "space at the end of the line")
        if UNFINISHED.search(line):
            breaches.add(path, number, "unfinished: do it now, or open an issue")
    if not is_text and not any(SPDX in line for line in lines[:5]):
        breaches.add(path, 1, f"begin with `{SPDX}`")


def code_only(lines):
    """The lines with comments and the insides of literals blanked out; columns stay the same."""
    text = "\n".join(lines)
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match):
        kept = match.group(0)
        # In 1'000'000 the marks are no literal.
        before = text[match.start() - 1] if match.start() else " "
        if kept[0] == "'" and (before.isalnum() or before == "_"):
            return kept
        return re.sub(r"[^\n]", " ", kept) if kept[0] != '"' else '"' + re.sub(
            r"[^\n]", " ", kept[1:-1]) + '"'

    return pattern.sub(blank, text).split("\n")


def check_code(path, lines, breaches):
    for number, line in enumerate(code_only(lines), 1):
        call = BANNED_CALL.search(line)
        if call and not (call.group(1) == "popen" and path.startswith("tests/")):
            breaches.add(path, number, f"{call.group(1)}(): use {BANNED_CALLS[call.group(1)]}")
        if BANNED_STREAM.search(line):
            breaches.add(path, number, "iostream: use fmt")
        used = USING_NAMESPACE.search(line)
        if used and (used.group(1) == "std" or not path.startswith("tests/")):
            breaches.add(path, number, "using namespace: name what you use")
        vague = VAGUE_CLASS.search(line)
        if vague and vague.group(1) not in AGREED_NAMES:
            breaches.add(path, number, f"{vague.group(1)}: say what it is, not that it helps")
    if path.endswith(".h") and not any(line.strip() == "#pragma once" for line in lines):
        breaches.add(path, 1, "a header begins with #pragma once")


NOT_A_FUNCTION = re.compile(r"^\s*(?:template\s*<.*>\s*)?(?:inline\s+)?"
                            r"(namespace|class|struct|union|enum|extern|if|for|while|switch|do)\b")
HAS_ASSIGNMENT = re.compile(r"(?<![=!<>+\-*/&|^%])=(?!=)")


def functions(lines):
    """(first line, last line, heading) of each function body at namespace or class level."""
    found = []
    stack = []  # (kind, first line, heading) of each open brace
    heading, heading_line = "", None
    parentheses = 0
    for number, line in enumerate(code_only(lines), 1):
        if line.lstrip().startswith("#"):
            continue
        for char in line:
            inside = any(kind == "function" for kind, _, _ in stack)
            if char == "{" and (parentheses == 0 or inside):
                kind = "scope"
                if not inside and stack and stack[-1][0] == "initializer":
                    kind = "initializer"
                elif not inside and "(" in heading and not NOT_A_FUNCTION.match(heading):
                    is_value = HAS_ASSIGNMENT.search(heading.split("(")[0])
                    in_list = re.search(r"\)\s*(?:noexcept\s*)?:[^:]*[\w>]\s*$", heading)
                    kind = "initializer" if is_value or in_list else "function"
                stack.append((kind, heading_line or number, heading))
                if kind == "initializer":
                    heading += char
                else:
                    heading, heading_line = "", None
                continue
            if char == "}" and stack and (parentheses == 0 or inside):
                kind, first, text = stack.pop()
                if kind == "function":
                    found.append((first, number, " ".join(text.split())))
                if kind == "initializer":
                    heading += char
                else:
                    heading, heading_line = "", None
                continue
            if inside:
                continue
            parentheses += (char == "(") - (char == ")")
            if char == ";" and parentheses == 0:
                heading, heading_line = "", None
                continue
            if char == ":" and heading.strip() in ("public", "private", "protected"):
                heading, heading_line = "", None
                continue
            if not char.isspace() and heading_line is None:
                heading_line = number
            heading += char
        heading += " "
    return found


def check_functions(path, lines, breaches):
    for first, last, heading in functions(lines):
        length = last - first + 1
        if length > MAX_FUNCTION_LINES:
            name = re.sub(r"\(.*", "", heading).split()[-1]
            breaches.add(path, first,
                         f"{name} is {length} lines long; at most {MAX_FUNCTION_LINES}")


def room_of(path):
    return next((room for room in ROOMS if path.startswith(room + "/")), None)


def check_includes(path, lines, files, root, breaches):
    room = room_of(path)
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match or match.group(1) == "<":
            continue
        target = match.group(2)
        if target not in files and not os.path.exists(os.path.join(root, target)):
            breaches.add(path, number, f'"{target}": write includes from the root of the tree')
            continue
        other = room_of(target)
        if room and other != room and other not in ROOMS[room]:
            known = ", ".join(sorted(ROOMS[room])) or "nobody"
            breaches.add(path, number, f"against the arrows: {room} knows {known}, not {target}")


def check_heavy_headers(files, breaches):
    for heavy, allowed in HEAVY_HEADERS.items():
        users = set()
        for path, lines in files.items():
            if not path.endswith(CODE) or path.startswith("tests/"):
                continue
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                if match and match.group(2).startswith(heavy):
                    users.add(path)
                    if path not in allowed:
                        breaches.add(path, number, f"{match.group(2)} is heavy: keep it in "
                                     f"{', '.join(sorted(allowed)) or 'no file'}, or say so in "
                                     "HEAVY_HEADERS of tests/style/tidy.py")
        for path in sorted(allowed - users):
            breaches.add(path, 1, f"does not include {heavy} any more: take it out of "
                         "HEAVY_HEADERS of tests/style/tidy.py")


OVERRIDES = re.compile(r"^[^;{}]*\boverride;$", re.M)


def meaningful(path, lines):
    """(number, text) of the lines that say something: no blanks, braces, comments, includes; and
    no declarations of overrides, which all implementations of an interface have in common."""
    source = lines
    if path.endswith(CODE):
        source = OVERRIDES.sub(lambda match: "\n" * match.group(0).count("\n"),
                               "\n".join(code_only(lines))).split("\n")
    for number, line in enumerate(source, 1):
        text = " ".join(line.split())
        if not text or text in ("{", "}", "};", "});", "fi", "done", "else", ")"):
            continue
        if text.startswith(("#", "using ", "namespace ")):
            continue
        yield number, " ".join(lines[number - 1].split())


def check_duplicates(files, breaches):
    seen = {}
    for path, lines in files.items():
        if not (path.endswith(CODE + SCRIPTS) or path in ("run", "check")):
            continue
        said = list(meaningful(path, lines))
        reported_until = -1
        for start in range(len(said) - DUPLICATE_LINES + 1):
            window = tuple(text for _, text in said[start:start + DUPLICATE_LINES])
            first = seen.setdefault(window, (path, start, said[start][0]))
            overlaps = first[0] == path and start - first[1] < DUPLICATE_LINES
            if overlaps or start <= reported_until:
                continue
            reported_until = start + DUPLICATE_LINES
            breaches.add(path, said[start][0], f"{DUPLICATE_LINES} lines as in "
                         f"{first[0]}:{first[2]}: make one piece of them")


def known_tests(files):
    """Names of tests: Suite.Behaviour of GoogleTest, e2e-NAME of a script."""
    names = set()
    for path, lines in files.items():
        if path.startswith("tests/e2e/") and path.endswith(".sh"):
            names.add("e2e-" + os.path.basename(path)[:-3])
        elif path.startswith("tests/unit/") and path.endswith(".cc"):
            for suite, behaviour in re.findall(
                    r"\b(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", "\n".join(lines)):
                names.add(f"{suite}.{behaviour}")
    return names


NAMED_TEST = re.compile(r"`([A-Z]\w+\.[A-Z]\w+|e2e-[\w-]+)`")


def check_named_tests(files, breaches):
    """What SECURITY.md says of tests is true: each that it names is there."""
    tests = known_tests(files)
    for number, line in enumerate(files.get("SECURITY.md", []), 1):
        for name in NAMED_TEST.findall(line):
            if name not in tests:
                breaches.add("SECURITY.md", number, f"there is no test {name}")


def check_tree(root):
    files = read_tree(root)
    breaches = Breaches()
    for path, lines in files.items():
        check_lines(path, lines, breaches)
        if path.endswith(CODE):
            check_code(path, lines, breaches)
            check_functions(path, lines, breaches)
            check_includes(path, lines, files, root, breaches)
    check_heavy_headers(files, breaches)
    check_duplicates(files, breaches)
    check_named_tests(files, breaches)
    return sorted(breaches.lines)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0


def print_sizes(root):
    """Medians and 90th percentiles, product and tests apart."""
    groups = collections.defaultdict(lambda: ([], []))
    longest = []
    for path, lines in read_tree(root).items():
        if path.endswith(CODE):
            group = groups["tests" if path.startswith("tests/") else "product"]
            group[1].append(len(lines))
            for first, last, heading in functions(lines):
                group[0].append(last - first + 1)
                longest.append((last - first + 1, f"{path}:{first}"))
    for name, (lengths, sizes) in sorted(groups.items()):
        print(f"{name}: {len(lengths)} functions, median {percentile(lengths, 0.5)} lines, "
              f"90 % within {percentile(lengths, 0.9)}; {len(sizes)} files, "
              f"90 % within {percentile(sizes, 0.9)} lines, {sum(sizes)} in all")
    for length, place in sorted(longest, reverse=True)[:5]:
        print(f"{place}: {length} lines")


def main():
    parser = argparse.ArgumentParser(description="Checks the house rules.")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "../.."))
    parser.add_argument("--sizes", action="store_true")
    arguments = parser.parse_args()
    root = os.path.abspath(arguments.root)
    if arguments.sizes:
        print_sizes(root)
        return 0
    breaches = check_tree(root)
    for path, number, message in breaches:
        print(f"{path}:{number}: {message}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
