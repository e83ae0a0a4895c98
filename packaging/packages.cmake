# SPDX-License-Identifier: BSD-3-Clause
#
# Read by cpack when it makes packages: what each says of itself.

# All times in a package are that of the release, unless the caller wishes another.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
    execute_process(COMMAND date --date=${CPACK_SIGNPOST_RELEASE_TIME} +%s
        OUTPUT_VARIABLE seconds OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    set(ENV{SOURCE_DATE_EPOCH} ${seconds})
endif()
set(ENV{TZ} UTC)
execute_process(COMMAND sh -c umask OUTPUT_VARIABLE mask OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT mask EQUAL 22)
    message(WARNING "with another umask than 022 the packages are as good, but have other bytes")
endif()

# about(PACKAGE SUMMARY TEXT KEY VALUE...): the fields of its control file.
function(about package summary text)
    string(TOUPPER ${package} key)
    set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${package} PARENT_SCOPE)
    set(CPACK_DEBIAN_${key}_DESCRIPTION "${summary}\n${text}" PARENT_SCOPE)
    while(ARGN)
        list(POP_FRONT ARGN field value)
        set(CPACK_DEBIAN_${key}_PACKAGE_${field} "${value}" PARENT_SCOPE)
    endwhile()
    set(extra)
    foreach(file postinst prerm postrm conffiles)
        if(EXISTS "${CPACK_SIGNPOST_PACKAGING}/${package}/${file}")
            list(APPEND extra "${CPACK_SIGNPOST_PACKAGING}/${package}/${file}")
        endif()
    endforeach()
    set(CPACK_DEBIAN_${key}_PACKAGE_CONTROL_EXTRA "${extra}" PARENT_SCOPE)
endfunction()

# Each package has a summary of its own.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")

# What talks to each other without a protocol of its own is of one version.
set(same "(= ${CPACK_PACKAGE_VERSION})")

about(signpost "find, check and recover the disks of a federation of NBD servers"
"A federation of Signpost servers serves every virtual-machine disk from any
of its servers, over NBD. This is the operator's command: it finds disks and
restore points, says where their copies are and whether they are good, takes
files out of disks, copies and moves disks between servers, and finds what is
wrong. The manual pages for recovery at three in the morning are in here."
    RECOMMENDS "signpost-files ${same}, fuse3"
    SUGGESTS "signpost-server, signpost-libvirt, qemu-utils, qemu-system-x86, libnbd-bin")

about(signpost-server "serve any disk of a federation over NBD"
"The server: it serves the disk images below its repositories (raw, qcow2,
vmdk, vhdx, vdi, the sets that virtnbdbackup writes) and, for whoever asks,
any other disk of the federation, relayed from a server that holds it. With an
equal copy elsewhere, clients notice nothing when a server dies.
.
After installation it listens on this machine only; see
/etc/signpost/signpost.toml and signpost-quickstart(7)."
    DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers, procps"
    RECOMMENDS "signpost, qemu-utils"
    SUGGESTS "signpost-files, gnutls-bin, postgresql-client")

about(nbdkit-plugin-signpost "serve any disk of a federation with nbdkit"
"The disks of a Signpost federation as a plugin of nbdkit, with all of its
filters, TLS and transports: local images and, for whoever asks, those that
other servers hold."
    DEPENDS "nbdkit (>= 1.32)"
    RECOMMENDS "qemu-utils"
    SUGGESTS "signpost")

about(signpost-libvirt "every disk of a federation in a libvirt storage pool"
"signpost-pool keeps a libvirt storage pool equal to the catalog of a Signpost
federation, so that virsh, virt-manager and Cockpit use every disk of every
server. It brings a lost machine back in seconds, on disks that are still on a
backup server, and copies them home while the machine runs."
    RECOMMENDS "libvirt-daemon-system, libvirt-clients, qemu-system, signpost-server, signpost"
    SUGGESTS "virt-manager")

about(signpost-files "read file systems inside the disks of a federation"
"The process that \"signpost files\" and \"signpost mount\" have read the file
systems on a disk: ext, NTFS, FAT, exFAT, ISO 9660, HFS+ and UFS by itself;
XFS, btrfs, logical volumes and arrays with the tools of GRUB. It has no
network and no files, and may make only the few system calls that it needs.
Another such process opens LUKS."
    DEPENDS "signpost ${same}"
    RECOMMENDS "grub-common, fuse3")

about(signpost-monitoring "dashboard and alerts for a federation of NBD servers"
"A Grafana dashboard and rules for Prometheus about the servers and disks of a
Signpost federation: servers that are away, disks with one copy only, restore
points that are too old."
    ARCHITECTURE all
    SUGGESTS "prometheus")
