#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An fsync that has failed once stays failed: every later FLUSH and FUA of that disk is an error,
# for all its clients, though the kernel would say that all is well; other disks and reads are not
# touched. A restart clears it.
. "$(dirname "$0")/functions.sh"

requires gcc
cat >"$tmp/shim.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd) {
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/bad.raw") &&
           access(getenv("SYNC_FAILS"), F_OK) == 0;
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? (errno = EIO, -1) : next(fd);
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? (errno = EIO, -1) : next(fd);
}
C
gcc -shared -fPIC -o "$tmp/shim.so" "$tmp/shim.c" -ldl
make_raw "$tmp/repository/bad.raw" 1M 1
make_raw "$tmp/repository/good.raw" 1M 2
printf '#!/bin/sh\nSYNC_FAILS=%q LD_PRELOAD=%q exec %q "$@"\n' "$tmp/fails" "$tmp/shim.so" \
    "$SIGNPOSTD" >"$tmp/signpostd"
chmod +x "$tmp/signpostd"
SIGNPOSTD=$tmp/signpostd
start_server alpha writable=true "$tmp/repository"

expect() {
    local wanted=$1
    shift
    ask "$@"
    [ "$answer" = "$wanted" ] || fail "$*: $answer, not $wanted"
}
open_session "$(disk_uri alpha bad)"
expect ok write 0 4096 7
expect ok flush
touch "$tmp/fails"
expect ok write 4096 4096 8
expect EIO flush
rm "$tmp/fails"
expect EIO flush
expect ok write 8192 4096 9
expect EIO flush
expect ok read 0 4096
grep -q 'bad' "$tmp/alpha.log" || fail "the log says nothing"
first_to=$to_session first_from=$from_session
open_session "$(disk_uri alpha bad)"
expect EIO flush
open_session "$(disk_uri alpha good)"
expect ok write 0 4096 7
expect ok flush
exec {first_to}>&- {first_from}<&-
stop_server alpha
restart_server alpha
open_session "$(disk_uri alpha bad)"
expect ok write 0 4096 7
expect ok flush
