#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# shell.sh ROOT: shellcheck finds nothing in any shell script of the tree.

set -eu -o pipefail
cd "$1"
if ! command -v shellcheck >/dev/null; then
    [ "${SIGNPOST_NO_SKIP:-0}" != 1 ] || exit 1
    echo "SKIP: shellcheck is not installed"
    exit 77
fi

mapfile -d '' scripts < <(
    find . \( -name .git -o -name build -o -name corpus \) -prune -o -type f -size -200k -print0 |
        xargs -0 grep --null --files-with-matches --extended-regexp --max-count=1 \
            '^#!.*\b(ba)?sh$|^# shellcheck shell='
)
[ "${#scripts[@]}" -gt 0 ]
printf '%s\0' "${scripts[@]}" | xargs -0 --max-args=8 --max-procs="$(nproc)" shellcheck
echo "${#scripts[@]} scripts are clean"
