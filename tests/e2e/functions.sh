# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What every end-to-end test begins with: `. "$(dirname "$0")/functions.sh"`.
#
# A test is one short script that shows one behaviour with the real programs. It passes when it ends
# with status 0, is skipped with 77 and a reason, and fails with anything else; the logs of its
# servers are then printed. Each test has a directory of its own ($tmp) and ports of its own, so any
# number of them run side by side. Whatever it started is stopped when it ends.
#
# Servers listen through socket activation: a launcher binds a free port first and becomes nbdkit
# then, so the port cannot be lost to another process in between, and a server that is started again
# gets its old port back.
#
# From ctest: PLUGIN (nbdkit-signpost-plugin.so), SIGNPOSTD, SIGNPOST (the command), SOURCE_DIR (the
# tree), SERVER (which of the two servers start_server starts).
# SIGNPOST_NO_SKIP=1 turns a skip for a missing program into a failure (./check in CI).

set -eu -o pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${SOURCE_DIR:=$(cd "$here/../.." && pwd)}"
: "${BUILD_DIR:=$SOURCE_DIR/build/release}"
: "${PLUGIN:=$BUILD_DIR/nbdkit-plugin/nbdkit-signpost-plugin.so}"
: "${SIGNPOST:=$BUILD_DIR/cli/signpost}"
: "${SIGNPOSTD:=$BUILD_DIR/nbd-server/signpostd}"
: "${SERVER:=nbdkit}" # what start_server starts: nbdkit with the plugin, or signpostd
PYTHON=/usr/bin/python3 # the one that has Debian's nbd module
export SOURCE_DIR BUILD_DIR PLUGIN SIGNPOST SIGNPOSTD SERVER PYTHON

tmp=$(mktemp -d "${TMPDIR:-/tmp}/signpost-test.XXXXXX")
# shellcheck disable=SC2034 # for the tests
# Of start_server and the command: a file, or a postgresql:// URL. A test may point it elsewhere.
catalog=$tmp/catalog.db
export STATE_DIRECTORY=$tmp/state # what servers remember
# Which copies have digests is a test's own to say: it gives a server digest-rate=SIZE.
export SIGNPOST_DIGEST_RATE=0

declare -A pid=() port=() uri=() command_of=()
cleanup_commands=()

# How a test ends.

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

skip() {
    echo "SKIP: $*"
    exit 77
}

# requires PROGRAM…: they are installed (see cmake/packages.txt).
requires() {
    local program
    for program in "$@"; do
        if ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
            [ "${SIGNPOST_NO_SKIP:-0}" != 1 ] || fail "$program is not installed"
            skip "$program is not installed"
        fi
    done
}

# requires_nbdkit plugin|filter NAME
requires_nbdkit() {
    local command=("$2" --version)
    [ "$1" = plugin ] || command=(--filter="$2" null --version)
    if ! nbdkit "${command[@]}" >/dev/null 2>&1; then
        [ "${SIGNPOST_NO_SKIP:-0}" != 1 ] || fail "nbdkit has no $1 $2"
        skip "nbdkit has no $1 $2"
    fi
}

requires_root() {
    [ "$(id -u)" = 0 ] || skip "needs root"
}

requires_fuse() {
    [ -w /dev/fuse ] || skip "/dev/fuse is not usable here"
}

# Network namespaces and iptables: a privileged machine or container.
requires_net_admin() {
    requires_root
    requires ip iptables
    local probe=signpost-probe-$$
    ip netns add "$probe" 2>/dev/null || skip "network namespaces are not usable here"
    ip netns exec "$probe" iptables -A INPUT -p tcp --dport 9 -j DROP 2>/dev/null ||
        { ip netns del "$probe"; skip "iptables is not usable here"; }
    ip netns del "$probe"
}

# mount_tmpfs DIRECTORY SIZE: a small file system there, for as long as the test runs.
mount_tmpfs() {
    requires_root
    mkdir -p "$1"
    mount -t tmpfs -o "size=$2" signpost-test "$1" 2>/dev/null ||
        skip "tmpfs cannot be mounted here"
    cleanup_fn umount --lazy "$1"
}

# fill_up FILE: takes what is free on its file system. That dd fails is then as it should be.
fill_up() {
    if dd if=/dev/zero of="$1" bs=4k 2>"$tmp/fill_up.err"; then
        fail "$1: dd ended before the file system was full"
    fi
    grep -q 'No space left on device' "$tmp/fill_up.err" || fail "$(cat "$tmp/fill_up.err")"
}

# The rest of the test runs in a network of its own: only a loopback interface, and firewall rules
# that end with the test.
in_own_network() {
    if [ "${SIGNPOST_OWN_NETWORK:-}" != 1 ]; then
        rm -rf "$tmp"
        trap - EXIT
        SIGNPOST_OWN_NETWORK=1 exec unshare --net -- "$BASH" "$0"
    fi
    ip link set lo up
}

# cleanup_fn COMMAND…: runs when the test ends, the last given first.
cleanup_fn() {
    cleanup_commands+=("$(printf '%q ' "$@")")
}

show_logs() {
    local log
    for log in "$tmp"/*.log; do
        [ -s "$log" ] || continue
        echo "---- ${log##*/} (last 40 lines)" >&2
        tail -n 40 "$log" >&2
    done
}

end_of_test() {
    local status=$? i
    trap - EXIT
    set +e
    for ((i = ${#cleanup_commands[@]} - 1; i >= 0; i--)); do
        eval "${cleanup_commands[i]}" >/dev/null 2>&1
    done
    [ -z "${session_PID:-}" ] || kill "$session_PID" 2>/dev/null
    [ "${#pid[@]}" = 0 ] || kill -CONT "${pid[@]}" 2>/dev/null
    stop_server "${!pid[@]}"
    [ "$status" = 0 ] || [ "$status" = 77 ] || show_logs
    rm -rf "$tmp"
    exit "$status"
}
trap end_of_test EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# Waiting.

# wait_until [-t SECONDS] COMMAND…: until it succeeds; at most 15 seconds unless told.
wait_until() {
    local limit=15
    if [ "$1" = -t ]; then
        limit=$2
        shift 2
    fi
    local end=$((${EPOCHREALTIME//./} + limit * 1000000))
    until "$@" >/dev/null 2>&1; do
        [ "${EPOCHREALTIME//./}" -lt "$end" ] || fail "not within $limit s: $*"
        sleep 0.05
    done
}

now_ms() {
    echo $((${EPOCHREALTIME//./} / 1000))
}

catalog_url() {
    case $catalog in
    postgres*://*) echo "$catalog" ;;
    *) echo "sqlite:$catalog" ;;
    esac
}

# Servers.

# The rest of a start: $tmp/NAME.log gets what it says, $tmp/NAME.pid appears when it serves. Runs
# in the test's own shell (no pipeline, no subshell): the server ends with that.
spawn() {
    local name=$1
    shift
    rm -f "$tmp/$name.pid"
    command_of[$name]=$(printf '%q ' "$@")
    "$@" >>"$tmp/$name.log" 2>&1 &
    pid[$name]=$!
    local end=$((${EPOCHREALTIME//./} + 20000000))
    until [ -s "$tmp/$name.pid" ]; do
        kill -0 "${pid[$name]}" 2>/dev/null || fail "server $name ended while starting"
        [ "${EPOCHREALTIME//./}" -lt "$end" ] || fail "server $name does not serve after 20 s"
        sleep 0.02
    done
}

# The way to start nbdkit, without and with AddressSanitizer's library under it (NBDKIT_PRELOAD).
nbdkit_command=(env "LD_PRELOAD=${NBDKIT_PRELOAD:-}" nbdkit --foreground --exit-with-parent)
[ -n "${NBDKIT_PRELOAD:-}" ] || nbdkit_command=(nbdkit --foreground --exit-with-parent)

# start_nbdkit NAME ARGUMENT…: on a free port of 127.0.0.1; @PORT@ in an argument becomes the port.
# Sets ${pid[NAME]}, ${port[NAME]} and ${uri[NAME]} (without an export name).
start_nbdkit() {
    local name=$1
    shift
    spawn "$name" "$PYTHON" "$here/listen.py" "$tmp/$name.port" \
        "${nbdkit_command[@]}" --pidfile="$tmp/$name.pid" "$@"
    port[$name]=$(cat "$tmp/$name.port")
    uri[$name]=nbd://127.0.0.1:${port[$name]}
}

# start_nbdkit_unix NAME ARGUMENT…: as start_nbdkit, on the socket $tmp/NAME.sock.
start_nbdkit_unix() {
    local name=$1
    shift
    rm -f "$tmp/$name.sock"
    spawn "$name" "${nbdkit_command[@]}" --pidfile="$tmp/$name.pid" --unix="$tmp/$name.sock" "$@"
    uri[$name]="nbd+unix:///?socket=$tmp/$name.sock"
}

# start_server NAME [NBDKIT-OPTION… --] [DIRECTORY|KEY=VALUE]…: nbdkit with the plugin, or
# signpostd, as $SERVER says; with a filter always nbdkit. Server NAME of the catalog $catalog,
# reached by its peers at its own port; each DIRECTORY is a repository.
start_server() {
    if [ "$SERVER" = signpostd ] && [[ " $* " != *" --filter="* ]]; then
        start_signpostd "$@"
    else
        start_nbdkit_server "$@"
    fi
}

start_nbdkit_server() {
    local name=$1 argument options=() parameters=()
    shift
    if [[ " $* " == *" -- "* ]]; then
        while [ "$1" != -- ]; do
            options+=("$1")
            shift
        done
        shift
    fi
    for argument in "$@"; do
        [[ $argument == *=* ]] || argument=repository=$argument
        parameters+=("$argument")
    done
    start_nbdkit "$name" "${options[@]}" "$PLUGIN" "catalog=$(catalog_url)" "server=$name" \
        uri=nbd://127.0.0.1:@PORT@ digest-rate=0 "${parameters[@]}"
}

# start_signpostd NAME [DIRECTORY|KEY=VALUE]…: with the parameters of the plugin, as options.
# $signpostd_options has more of them.
signpostd_options=()
start_signpostd() {
    local name=$1 argument key value options=()
    shift
    for argument in "$@"; do
        case $argument in
        --) continue ;;
        --threads=*) continue ;; # nbdkit's, for each client
        *=*) ;;
        *) argument=repository=$argument ;;
        esac
        key=${argument%%=*} value=${argument#*=}
        case $key in
        tls | tls-certificates | tls-psk) key=peer-$key ;;
        esac
        options+=("--$key=$value")
    done
    [[ " ${options[*]} " == *" --catalog="* ]] || options+=("--catalog=$(catalog_url)")
    [[ " ${options[*]} " == *" --server="* ]] || options+=("--server=$name")
    [[ " ${options[*]} " == *" --uri="* ]] || options+=(--uri=nbd://127.0.0.1:@PORT@)
    spawn "$name" "$PYTHON" "$here/listen.py" "$tmp/$name.port" \
        "$SIGNPOSTD" --listen=systemd --pid-file="$tmp/$name.pid" \
        "${options[@]}" "${signpostd_options[@]}"
    port[$name]=$(cat "$tmp/$name.port")
    uri[$name]=nbd://127.0.0.1:${port[$name]}
}

# spawn_signpostd NAME OPTION…: signpostd with just these options and this test's catalog.
spawn_signpostd() {
    local name=$1
    shift
    spawn "$name" "$SIGNPOSTD" --pid-file="$tmp/$name.pid" --catalog="$(catalog_url)" \
        --server="$name" "$@"
}

# free_port_of NAME ADDRESS: what port 0 of it has become, from the log of that signpostd.
free_port_of() {
    grep -F "serving on $2:" "$tmp/$1.log" | tail -n 1 | grep -Eo '[0-9]+"?$' | tr -d '"'
}

# A port that nobody listens on now: for programs that cannot be started by start_nbdkit.
free_port() {
    "$PYTHON" -B "$here/listen.py"
}

# disk_uri NAME EXPORT: what a client dials.
disk_uri() {
    case ${uri[$1]} in
    nbd+unix:*) echo "nbd+unix:///$2?${uri[$1]#*\?}" ;;
    *) echo "${uri[$1]}/$2" ;;
    esac
}

# stop_server NAME…: an orderly end, waited for. nbdkit waits for its clients to leave, so one that
# still has some after 3 seconds is killed. kill_server NAME: kill -9.
stop_server() {
    local name end=$((${EPOCHREALTIME//./} + 3000000))
    for name in "$@"; do
        kill -TERM "${pid[$name]}" 2>/dev/null || true
    done
    for name in "$@"; do
        while kill -0 "${pid[$name]}" 2>/dev/null && [ "${EPOCHREALTIME//./}" -lt "$end" ]; do
            sleep 0.02
        done
        kill_server "$name"
    done
}

kill_server() {
    kill -KILL "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || true
    unset "pid[$1]"
}

# restart_server NAME: a stopped or killed server again, same port, same arguments.
restart_server() {
    local command
    eval "command=(${command_of[$1]})"
    spawn "$1" "${command[@]}"
}

# Clients.

# open_session URI: one connection that stays open for the whole test (session.py has the commands).
# ask COMMAND…: its answer is in $answer (ok, or EIO and its like), $answer_ms and $answer_data.
open_session() {
    # shellcheck disable=SC2034 # the shell names the process in it
    coproc session { exec "$PYTHON" -B "$here/session.py" "$1" 2>>"$tmp/session.log"; }
    # Subshells do not get the shell's own two descriptors.
    exec {to_session}>&"${session[1]}" {from_session}<&"${session[0]}"
    read -r -t 20 answer _ <&"$from_session" || fail "cannot open $1"
}

ask() {
    echo "$*" >&"$to_session"
    read -r -t 60 answer answer_ms answer_data <&"$from_session" || fail "no answer to: $*"
}

sha256_of() {
    dd if="$3" iflag=skip_bytes,count_bytes skip="$1" count="$2" bs=64K status=none |
        sha256sum | cut -d ' ' -f 1
}

# COMMAND | has PATTERN: as grep -q, but reads all, so that the command is not ended by SIGPIPE.
has() {
    local text
    text=$(cat)
    grep -q "$@" <<<"$text"
}

# cannot_read URI MS: the disk is refused when it is chosen, or when it is read, in less time.
cannot_read() {
    local start
    start=$(now_ms)
    ! nbdcopy -- "$1" null: 2>"$tmp/refused.log" || fail "$1 can be read"
    [ $(($(now_ms) - start)) -lt "$2" ] || fail "$1: it took $(($(now_ms) - start)) ms to say no"
}

# expect_read OFFSET LENGTH FILE: reads what the file has there.
expect_read() {
    ask read "$1" "$2"
    [ "$answer" = ok ] || fail "read $1 $2: $answer after $answer_ms ms"
    [ "$answer_data" = "$(sha256_of "$@")" ] || fail "read $1 $2: other bytes than ${3##*/}'s"
}

reads_right() {
    (expect_read "$@") >/dev/null 2>&1
}

# The catalog.

# The command on this test's catalog.
signpost() {
    "$SIGNPOST" --catalog "$(catalog_url)" "$@"
}

is_published() {
    signpost where "$2" --json |
        jq -e --arg server "$1" '.locations[] | select(.server == $server and .state == "ready")'
}

is_gone() {
    ! is_published "$@"
}

# wait_published SERVER DISK and wait_withdrawn SERVER DISK.
wait_published() {
    wait_until is_published "$1" "$2"
}

wait_withdrawn() {
    wait_until is_gone "$1" "$2"
}

# Images and bytes.

# make_raw PATH SIZE [SEED]: data and holes, the same for the same seed. SIZE as 8M or 1G.
make_raw() {
    mkdir -p "$(dirname "$1")"
    "$PYTHON" - "$1" "$(numfmt --from=iec "$2")" "${3:-1}" <<'PYTHON'
import random, sys
path, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choice = random.Random(seed)
block = 64 * 1024
with open(path, "wb") as image:
    image.truncate(size)
    for offset in range(0, size, block):
        if offset == 0 or choice.random() < 0.6:
            image.seek(offset)
            image.write(choice.randbytes(min(block, size - offset)))
PYTHON
}

# make_qcow2 PATH SIZE [SEED]: the same bytes as make_raw's, as qcow2.
make_qcow2() {
    requires qemu-img
    make_raw "$1.source" "$2" "${3:-1}"
    qemu-img convert -f raw -O qcow2 "$1.source" "$1.new"
    rm "$1.source"
    mv "$1.new" "$1"
}

# same_bytes A B: two files, or NBD URIs, hold the same bytes.
same_bytes() {
    local side files=()
    for side in "$1" "$2"; do
        case $side in
        nbd*:*)
            local copy
            copy=$(mktemp "$tmp/copy.XXXXXX")
            nbdcopy "$side" "$copy" || fail "cannot copy $side"
            files+=("$copy")
            ;;
        *) files+=("$side") ;;
        esac
    done
    cmp "${files[0]}" "${files[1]}" || fail "$1 and $2 differ"
    rm -f "$tmp"/copy.*
}
