#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Both servers list the same disks; each says where they are, without asking the other.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq
make_raw "$tmp/alpha/one.raw" 1M
make_raw "$tmp/alpha/shared.raw" 1M
make_raw "$tmp/beta/two/vda.raw" 2M
make_raw "$tmp/beta/shared.raw" 1M
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published alpha one
wait_published alpha shared
wait_published beta shared
wait_published beta two/vda
names() {
    nbdinfo --list --json "${uri[$1]}" | jq -r '.exports[]["export-name"]'
}
names alpha >"$tmp/names.alpha"
names beta >"$tmp/names.beta"
printf '%s\n' one shared two/vda | diff - "$tmp/names.alpha" || fail "alpha's list"
diff "$tmp/names.alpha" "$tmp/names.beta" || fail "the lists differ"
kill_server beta
"$PYTHON" - "${uri[alpha]}" >"$tmp/descriptions" <<'PYTHON'
import sys
import nbd
session = nbd.NBD()
session.set_opt_mode(True)
session.connect_uri(sys.argv[1])
session.opt_list(lambda name, description: print(f"{name}: {description}"))
PYTHON
diff - "$tmp/descriptions" <<'END' || fail "descriptions"
one: 1 MiB raw, here
shared: 1 MiB raw, here
two/vda: 2 MiB raw on beta, relayed
END
