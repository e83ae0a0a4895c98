# SPDX-License-Identifier: BSD-3-Clause
#
# Where what is no program goes. An installation for the system (prefix /usr or /usr/local) puts
# units and configuration where systemd and people look for them; one below another prefix keeps
# everything there. Each directory can be said by itself.

if(CMAKE_INSTALL_PREFIX MATCHES "^/usr(/local)?$")
    set(SIGNPOST_FOR_SYSTEM ON)
    pkg_get_variable(units systemd systemdsystemunitdir)
    if(NOT units)
        set(units /lib/systemd/system)
    endif()
    set(etc /etc)
    set(usr_lib /usr/lib)
else()
    set(SIGNPOST_FOR_SYSTEM OFF)
    set(units lib/systemd/system)
    set(etc etc)
    set(usr_lib lib)
endif()
set(SIGNPOST_UNITDIR ${units} CACHE STRING "Where systemd's units go")
set(SIGNPOST_SYSCONFDIR ${etc} CACHE STRING "Where configuration goes, and is looked for")
set(SIGNPOST_SYSUSERSDIR ${usr_lib}/sysusers.d CACHE STRING "Where systemd-sysusers looks")
set(SIGNPOST_TMPFILESDIR ${usr_lib}/tmpfiles.d CACHE STRING "Where systemd-tmpfiles looks")

# Directories have the same mode, whatever umask installs.
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# signpost_units(FILE... [INTO DIRECTORY]): units of systemd, in DIRECTORY below its own. They name
# our programs in /usr; installed elsewhere they name them there.
function(signpost_units)
    cmake_parse_arguments(arg "" "INTO" "" ${ARGN})
    foreach(file IN LISTS arg_UNPARSED_ARGUMENTS)
        cmake_path(GET file FILENAME name)
        set(unit ${CMAKE_CURRENT_SOURCE_DIR}/${file})
        set(made ${CMAKE_CURRENT_BINARY_DIR}/installed/${name})
        install(CODE "
            set(prefix \${CMAKE_INSTALL_PREFIX})
            set(into \"${SIGNPOST_UNITDIR}/${arg_INTO}\")
            set(etc \"${SIGNPOST_SYSCONFDIR}\")
            cmake_path(ABSOLUTE_PATH into BASE_DIRECTORY \${prefix} NORMALIZE)
            cmake_path(ABSOLUTE_PATH etc BASE_DIRECTORY \${prefix} NORMALIZE)
            file(READ \"${unit}\" text)
            string(REPLACE /usr/bin/ \${prefix}/${CMAKE_INSTALL_BINDIR}/ text \"\${text}\")
            string(REPLACE /usr/sbin/ \${prefix}/${CMAKE_INSTALL_SBINDIR}/ text \"\${text}\")
            string(REPLACE /etc/signpost/ \${etc}/signpost/ text \"\${text}\")
            file(WRITE \"${made}\" \"\${text}\")
            file(INSTALL \"${made}\" DESTINATION \"\${into}\")")
    endforeach()
endfunction()
