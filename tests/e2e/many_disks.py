# SPDX-License-Identifier: BSD-3-Clause
"""many_disks.py COUNT: an exported catalog with one server that has so many disks."""

import hashlib
import json
import sys

COUNT = int(sys.argv[1])
digest = hashlib.sha256()


def line(value):
    text = json.dumps(value, separators=(",", ":")) + "\n"
    digest.update(text.encode())
    sys.stdout.write(text)


line({"signpost_catalog": 1})
line({"server": "far", "uris": ["nbd://127.0.0.1:9"], "site": "", "kind": "signpost",
      "priority": 100, "class": "site-normal", "draining": False, "last_heartbeat": 0,
      "heartbeat_sequence": 0, "instance": ""})
for i in range(COUNT):
    name = "vm/disk-%06d" % i
    line({"disk": name, "locations": [
        {"server": "far", "export": name, "size": 1 << 30, "format": "raw", "read_only": True,
         "generation": i + 1, "digest": "", "state": "ready", "priority": 100, "last_seen": 1,
         "fingerprint": "", "minimum_block": 1, "verified": 0}]})
end = {"end": True, "servers": 1, "site_costs": 0, "disks": COUNT, "generation": COUNT,
       "sha256": digest.hexdigest()}
sys.stdout.write(json.dumps(end, separators=(",", ":")) + "\n")
