// SPDX-License-Identifier: BSD-3-Clause

#include "cli/verb_table.h"

#include <algorithm>
#include <array>

namespace signpost {

namespace {

constexpr std::array kVerbs{
    VerbInfo{"ls", "list", "[PREFIX|GLOB]", "list disks", "no-header columns limit",
             "signpost ls\n"
             "signpost ls web01/\n"
             "signpost ls 'web*/vda' --json\n"
             "signpost ls --points web01/vda\n"
             "signpost ls -H -o disk,size --bytes\n"},
    VerbInfo{"find", "", "TEXT", "list disks whose names contain TEXT", "no-header columns limit",
             "signpost find web01\n"
             "signpost find db --json=lines\n"},
    VerbInfo{"where", "which", "DISK", "show every copy of a disk",
             "no-header columns tls-certificates tls-psk tls-username",
             "signpost where web01/vda\n"
             "signpost where web01/vda --check\n"
             "signpost where web01/vda --json | jq -r '.locations[].server'\n"},
    VerbInfo{"info", "", "DISK",
             "show what is known of a disk, and which copies back each other up",
             "tls-certificates tls-psk tls-username",
             "signpost info web01/vda\n"
             "signpost info web01/vda --json\n"},
    VerbInfo{"uri", "", "DISK", "print the NBD URI of a disk, and nothing else", "",
             "signpost uri web01/vda\n"
             "nbdinfo \"$(signpost uri web01/vda)\"\n"
             "signpost uri web01/vda --server alpha\n"},
    VerbInfo{"servers list", "", "", "list servers", "no-header columns",
             "signpost servers\n"
             "signpost servers list --json\n"},
    VerbInfo{"servers add", "", "NAME URI",
             "register a server, or import the exports of any NBD one",
             "dry-run tls-certificates tls-psk tls-username",
             "signpost servers add beta nbd://beta.example\n"
             "signpost servers add vault nbd://127.0.0.1:10810 --foreign\n"
             "signpost servers add vault nbds://vault.example --foreign --tls-psk keys.psk "
             "--tls-username alice\n"},
    VerbInfo{"servers rm", "", "NAME", "forget a server and its locations", "yes dry-run",
             "signpost servers rm vault\n"
             "signpost servers rm vault --yes\n"},
    VerbInfo{"servers drain", "", "NAME", "send clients elsewhere, before the server is stopped",
             "dry-run",
             "signpost servers drain beta --wait\n"
             "signpost servers drain beta --off\n"},
    VerbInfo{"sites list", "", "", "list what it costs to get from site to site",
             "no-header columns",
             "signpost sites\n"
             "signpost sites list --json\n"},
    VerbInfo{"sites cost", "", "FROM TO COST",
             "say what it costs to get from one site to another, both ways", "",
             "signpost sites cost cellar attic 10\n"
             "signpost sites cost cellar attic default\n"},
    VerbInfo{"add", "", "PATH", "publish one image file", "uri dry-run",
             "signpost add /srv/backup/web01/vda.qcow2 --repository /srv/backup\n"
             "signpost add vda.raw --server alpha --uri nbd://alpha.example\n"},
    VerbInfo{"rm", "", "DISK", "forget the locations of a disk; its images stay", "yes dry-run",
             "signpost rm web01/vda --dry-run\n"
             "signpost rm web01/vda --server alpha --yes\n"},
    VerbInfo{"scan", "", "[DIR...]",
             "publish the images under DIR (default: the current directory)", "uri dry-run",
             "signpost scan /srv/backup --dry-run\n"
             "signpost scan /srv/backup --prune\n"
             "signpost scan /srv/backup --server alpha --uri nbd://alpha.example\n"},
    VerbInfo{"verify", "", "[DISK...]", "read every copy, store its digest, compare",
             "no-header tls-certificates tls-psk tls-username",
             "signpost verify web01/vda\n"
             "signpost verify --server alpha --glob 'web*'\n"
             "signpost verify --json\n"},
    VerbInfo{"diff", "", "DISK DISK", "show where two disks, or two points of one, differ",
             "no-header tls-certificates tls-psk tls-username",
             "signpost diff web01/vda@2026-11-20T02:00:03 web01/vda@2026-11-21T02:00:02\n"
             "signpost diff web01/vda web02/vda --json | jq .bytes_changed\n"},
    VerbInfo{"explain", "", "DISK", "show how a server finds a disk, step by step, and why",
             "no-header columns tls-certificates tls-psk tls-username",
             "signpost explain web01/vda\n"
             "signpost explain web01/vda --check\n"
             "signpost explain web01/vda --server gate --json | jq -r .result\n"},
    VerbInfo{"copy", "", "DISK", "copy a disk to another server", "dry-run",
             "signpost copy web01/vda --to beta\n"
             "signpost copy web01/vda --to beta --rate 50M\n"
             "signpost copy web01/vda --to beta --detach\n"},
    VerbInfo{"move", "", "DISK", "copy a disk to another server, which then alone has it",
             "dry-run",
             "signpost move web01/vda --to beta\n"
             "signpost move web01/vda --from alpha --to beta\n"},
    VerbInfo{"repair", "", "[PREFIX|GLOB]", "restore the wished number of good copies", "dry-run",
             "signpost repair --dry-run\n"
             "signpost repair 'db/*' --copies 2\n"},
    VerbInfo{"jobs", "", "[ID]", "show copies and moves, and how they get on", "no-header columns",
             "signpost jobs\n"
             "signpost jobs 1f0c\n"
             "signpost jobs --json | jq -r '.[] | select(.state == \"failed\") | .message'\n"},
    VerbInfo{"jobs cancel", "", "ID", "end a copy or move", "dry-run",
             "signpost jobs cancel 1f0c\n"},
    VerbInfo{"files ls", "", "DISK:[PART:]PATH", "list a directory of a disk, or its partitions",
             "no-header columns tls-certificates tls-psk tls-username",
             "signpost files ls web01/vda:\n"
             "signpost files ls web01/vda:/etc -l\n"
             "signpost files ls web01/vda@2026-11-20T02:00:p2:/var/lib --json\n"},
    VerbInfo{"files cat", "", "DISK:[PART:]PATH", "write a file of a disk to standard output",
             "tls-certificates tls-psk tls-username", "signpost files cat web01/vda:/etc/fstab\n"},
    VerbInfo{"files get", "", "DISK:[PART:]PATH [DEST]", "fetch a file or directory of a disk",
             "tls-certificates tls-psk tls-username",
             "signpost files get web01/vda:/var/lib/app/data.db\n"
             "signpost files get -r web01/vda:2:/etc/nginx restored/\n"
             "signpost files get --tar web01/vda:/home | zstd >home.tar.zst\n"},
    VerbInfo{"files find", "", "DISK:[PART:]PATH [NAME]", "look for files on a disk, by name",
             "no-header columns tls-certificates tls-psk tls-username",
             "signpost files find web01/vda:/etc '*.conf'\n"
             "signpost files find --all-points web01/vda:/etc/foo.conf\n"},
    VerbInfo{"mount", "", "DISK[:PART] DIR", "show the files of a disk in a directory, read-only",
             "tls-certificates tls-psk tls-username",
             "signpost mount web01/vda /mnt\n"
             "signpost mount web01/vda@2026-11-20T02:00:p2 ~/restore --background\n"
             "fusermount3 -u ~/restore\n"},
    VerbInfo{"run", "", "DISK -- COMMAND...", "run a program that is given a disk at $uri",
             "tls-certificates tls-psk tls-username",
             "signpost run web01/vda -- 'nbdinfo \"$uri\"'\n"
             "signpost run web01/vda -- 'qemu-img convert -p -O qcow2 \"$uri\" vda.qcow2'\n"
             "signpost run web01/vda --cow -- 'nbdfuse disk \"$uri\"'\n"},
    VerbInfo{"sessions", "", "", "show the clients of a server that runs here", "no-header columns",
             "signpost sessions\n"
             "signpost sessions --watch\n"
             "signpost sessions --json | jq '.sessions[] | select(.route != \"local\")'\n"},
    VerbInfo{"sessions kill", "", "ID", "end a client's session", "yes dry-run",
             "signpost sessions kill 17\n"},
    VerbInfo{"boot", "", "DISK", "say how to boot a machine from a disk, or do it",
             "tls-certificates tls-psk tls-username",
             "signpost boot web01/vda\n"
             "signpost boot web01/vda --start --vm web01-restored\n"
             "signpost boot web01/vda --print-xml >web01.xml\n"},
    VerbInfo{"drill", "", "[DISK...]", "boot disks in isolation, and keep how long they took",
             "tls-certificates tls-psk tls-username",
             "signpost drill web01/vda\n"
             "signpost drill web01/vda --at 2026-11-20\n"
             "signpost drill --oldest 5\n"
             "signpost drill --history web01/vda --json\n"},
    VerbInfo{"status", "", "", "show the catalog and the servers on one screen", "no-header",
             "signpost status\n"
             "signpost status --json | jq .single_copy_disks\n"},
    VerbInfo{"cache", "", "DIR", "show what a server keeps of disks that it relays",
             "no-header columns",
             "signpost cache /var/cache/signpost\n"
             "signpost cache /var/cache/signpost --json | jq .hit_bytes\n"},
    VerbInfo{"doctor", "", "", "look for problems, and say how to mend each",
             "tls-certificates tls-psk tls-username",
             "signpost doctor\n"
             "signpost doctor --json\n"},
    VerbInfo{"init", "", "[FILE]", "write a first configuration for signpostd, by asking",
             "uri yes dry-run tls-certificates",
             "signpost init\n"
             "signpost init --yes --repository /srv/backup\n"
             "signpost init --repository /srv/backup --uri nbds://alpha.example "
             "--tls-certificates /etc/pki/signpost --catalog postgresql://db.example/signpost\n"},
    VerbInfo{"catalog init", "", "", "make the catalog", "",
             "signpost catalog init\n"
             "signpost --catalog sqlite:/srv/signpost/catalog.db catalog init\n"},
    VerbInfo{"catalog export", "", "[FILE]", "write the whole catalog into a file", "",
             "signpost catalog export catalog.jsonl\n"
             "signpost catalog export | zstd >catalog.jsonl.zst\n"},
    VerbInfo{"catalog import", "", "FILE", "fill an empty catalog from such a file", "",
             "signpost catalog import catalog.jsonl\n"
             "zstdcat catalog.jsonl.zst | signpost catalog import -\n"},
    VerbInfo{"catalog migrate", "", "TO-URL", "copy the whole catalog into an empty one", "",
             "signpost catalog migrate postgresql://db.example/signpost\n"},
    VerbInfo{"catalog rebuild", "", "", "make a lost catalog anew from what servers remember", "",
             "signpost catalog rebuild\n"
             "signpost catalog rebuild --from alpha-state --from beta-state\n"},
};

// True when WORD is one of the space-separated LIST.
bool has_word(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        const auto space = std::min(list.find(' '), list.size());
        if (list.substr(0, space) == word) {
            return true;
        }
        list.remove_prefix(std::min(space + 1, list.size()));
    }
    return false;
}

}  // namespace

std::span<const VerbInfo> all_verbs() {
    return kVerbs;
}

const VerbInfo* find_verb(std::string_view name) {
    const auto verb = std::ranges::find(kVerbs, name, &VerbInfo::name);
    return verb == kVerbs.end() ? nullptr : &*verb;
}

bool takes_option(const VerbInfo& verb, std::string_view option) {
    return has_word(kEverywhere, option) || has_word(verb.options, option);
}

}  // namespace signpost
