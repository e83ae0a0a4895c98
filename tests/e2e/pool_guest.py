#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes a small disk that boots, from Debian's packages: syslinux, a kernel, busybox, ext4.

    pool_guest.py IMAGE WORK-DIRECTORY [--fill MIB]

The first partition has the boot loader, the kernel and an initial root; the second, ext4, has
files. The guest prints on its serial console

    GUEST sums SHA256        of the files in /data, in one sum
    GUEST wrote N            after each file that it has written and synced; N counts from 1

    GUEST error N            when it cannot read from its disk, past all caches

and goes on, a file of 64 KiB and a read of as much about five times a second. At its start it
prints `GUEST found N` for each such file of an earlier start whose bytes are right, and `GUEST bad
N` for others. Prints the sum that the guest should print.
"""

import argparse
import glob
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys

MIB = 1 << 20
BOOT_START, BOOT_SIZE = 1 * MIB, 31 * MIB
DATA_START = BOOT_START + BOOT_SIZE
MODULES = ["virtio_pci", "virtio_blk", "ext4"]
APPLETS = ["sh", "mount", "mkdir", "sha256sum", "cut", "dd", "sync", "sleep", "poweroff", "insmod",
           "cat", "echo", "ls", "mv", "test", "sort"]

INIT = """#!/bin/sh
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in $(cat /modules); do insmod "/lib/$module"; done
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    test -b /dev/vda2 && mount -t ext4 /dev/vda2 /mnt && break
    sleep 0.5
done
echo "GUEST sums $(cat /mnt/data/* | sha256sum | cut -d' ' -f1)"
n=0
while test -e /mnt/written/$((n + 1)); do
    n=$((n + 1))
    if test "$(sha256sum </mnt/written/$n)" = "$(cat /mnt/written/sum.$n)"; then
        echo "GUEST found $n"
    else
        echo "GUEST bad $n"
    fi
done
while true; do
    n=$((n + 1))
    dd if=/dev/urandom of=/mnt/written/new bs=64k count=1 2>/dev/null
    sha256sum </mnt/written/new >/mnt/written/sum.$n
    sync
    mv /mnt/written/new /mnt/written/$n
    sync && echo "GUEST wrote $n"
    dd if=/dev/vda of=/dev/null bs=64k skip=$((n % 400)) count=1 iflag=direct 2>/dev/null ||
        echo "GUEST error $n"
    sleep 0.2
done
"""


def run(*command, **keywords):
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return subprocess.run(command, check=True, env=dict(os.environ, PATH=path),
                          stdout=subprocess.PIPE, text=True, **keywords).stdout


def kernel():
    images = sorted(glob.glob("/boot/vmlinuz-*cloud*"))
    if not images:
        sys.exit("no kernel: linux-image-cloud-amd64 is not installed")
    return images[-1], os.path.basename(images[-1])[len("vmlinuz-"):]


def module_files(version):
    """Files of MODULES and all that they need, each after what it needs."""
    files = []
    for module in MODULES:
        out = run("modprobe", "--set-version", version, "--show-depends", module)
        files += re.findall(r"^insmod (\S+)", out, re.MULTILINE)
    return list(dict.fromkeys(files))


def make_initial_root(work, version):
    root = os.path.join(work, "root")
    for folder in ("bin", "lib", "proc", "sys", "dev", "mnt"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(root, "bin", applet))
    names = []
    for file in module_files(version):
        shutil.copy(file, os.path.join(root, "lib"))
        names.append(os.path.basename(file))
    with open(os.path.join(root, "modules"), "w", encoding="ascii") as file:
        file.write("\n".join(names))
    with open(os.path.join(root, "init"), "w", encoding="ascii") as file:
        file.write(INIT)
    os.chmod(os.path.join(root, "init"), 0o755)
    files = "\n".join(os.path.relpath(os.path.join(folder, name), root)
                      for folder, folders, names in os.walk(root) for name in folders + names)
    packed = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=files.encode(),
                            cwd=root, check=True, stdout=subprocess.PIPE).stdout
    path = os.path.join(work, "initrd")
    with open(path, "wb") as file:
        file.write(gzip.compress(packed, 6))
    return path


def make_data(work, fill):
    """The tree of the second partition; the sum of its files."""
    data = os.path.join(work, "data")
    os.makedirs(os.path.join(data, "data"))
    os.makedirs(os.path.join(data, "written"))
    total = hashlib.sha256()
    for i in range(fill):
        content = os.urandom(MIB)
        total.update(content)
        with open(os.path.join(data, "data", f"{i:04}"), "wb") as file:
            file.write(content)
    return data, total.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("work")
    parser.add_argument("--fill", type=int, default=8)
    arguments = parser.parse_args()
    os.makedirs(arguments.work)
    vmlinuz, version = kernel()
    initrd = make_initial_root(arguments.work, version)
    data, total = make_data(arguments.work, arguments.fill)
    size = DATA_START + (arguments.fill + 64) * MIB
    with open(arguments.image, "wb") as image:
        image.truncate(size)
    run("sfdisk", "--quiet", arguments.image,
        input=f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c, bootable\n"
              f"start={DATA_START // 512}, type=83\n")
    boot = os.path.join(arguments.work, "boot")
    with open(boot, "wb") as file:
        file.truncate(BOOT_SIZE)
    run("mkfs.vfat", "-h", str(BOOT_START // 512), boot)
    config = os.path.join(arguments.work, "syslinux.cfg")
    with open(config, "w", encoding="ascii") as file:
        file.write("SERIAL 0\nDEFAULT linux\nLABEL linux\n KERNEL /vmlinuz\n"
                   " APPEND initrd=/initrd console=ttyS0 quiet panic=1\n")
    run("mcopy", "-i", boot, vmlinuz, "::vmlinuz")
    run("mcopy", "-i", boot, initrd, "::initrd")
    run("mcopy", "-i", boot, config, "::syslinux.cfg")
    run("syslinux", "--install", boot)
    root = os.path.join(arguments.work, "ext4")
    with open(root, "wb") as file:
        file.truncate(size - DATA_START)
    run("mkfs.ext4", "-q", "-F", "-d", data, root)
    for source, start in ((boot, BOOT_START), (root, DATA_START)):
        run("dd", f"if={source}", f"of={arguments.image}", "bs=1M", f"seek={start // MIB}",
            "conv=notrunc,sparse", "status=none")
    run("dd", "if=/usr/lib/SYSLINUX/mbr.bin", f"of={arguments.image}", "bs=440", "count=1",
        "conv=notrunc", "status=none")
    print(total)


if __name__ == "__main__":
    main()
