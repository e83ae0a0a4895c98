# SPDX-License-Identifier: BSD-3-Clause
#
# Read by cpack when a package's files lie ready: programs are stripped as Debian does it, and modes
# and times say nothing of who made the package, and when.
set(root "${CPACK_TEMPORARY_INSTALL_DIRECTORY}")
function(run)
    execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(GLOB programs "${root}/*/usr/*bin/*" "${root}/*/usr/libexec/signpost/*")
file(GLOB_RECURSE modules "${root}/*.so")
run(strip --remove-section=.comment --remove-section=.note ${programs})
run(strip --remove-section=.comment --remove-section=.note --strip-unneeded ${modules})
run(find "${root}" -type d -exec chmod 755 {} +)
run(find "${root}" -exec touch --no-dereference --date=@$ENV{SOURCE_DATE_EPOCH} {} +)
