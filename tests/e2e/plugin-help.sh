#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --help has one `key=` line for each parameter, as nbdkit's completion wants it; the manual has the
# same parameters; every one of them is known.
. "$(dirname "$0")/functions.sh"

requires nbdkit
manual=$SOURCE_DIR/nbdkit-plugin/nbdkit-signpost-plugin.pod
"${nbdkit_command[@]}" "$PLUGIN" --help | grep -Eo '^[-a-z0-9]+=' | sort -u >"$tmp/help"
grep -E '^=item ' "$manual" | grep -Eo 'B<[-a-z0-9]+=' | sed 's/B<//' | sort -u >"$tmp/manual"
diff "$tmp/help" "$tmp/manual" || fail "--help and the manual differ"
[ "$(wc -l <"$tmp/help")" -ge 15 ] || fail "$(cat "$tmp/help")"
sed -n '/^=head1 SYNOPSIS/,/^=head1 DESC/p' "$manual" | grep -Eo '[-a-z0-9]+=' | sort -u |
    diff "$tmp/help" - || fail "the synopsis differs"
while read -r key; do
    "${nbdkit_command[@]}" "$PLUGIN" "$key?" 2>"$tmp/refusal" --run true || true
    if grep "unknown parameter" "$tmp/refusal"; then
        fail "$key is not a parameter"
    fi
done <"$tmp/help"
