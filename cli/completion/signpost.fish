# SPDX-License-Identifier: BSD-3-Clause
#
# Completion of signpost(1) for fish: verbs and options with what they mean, as the command's own
# --help has them, and the names of disks and servers and the ids of jobs, which the command gives.
# A catalog that does not answer completes nothing.

# The rows of --help below SECTION: left column, tab, right column.
function __signpost_rows --argument-names section
    set -l in_section no
    while read --local --line line
        if test "$line" = "$section:"
            set in_section yes
        else if test -z "$line"
            set in_section no
        else if test $in_section = yes
            string replace --filter --regex '^  (\S.*?)  +(.*)' '$1\t$2' -- $line
        end
    end
end

# What stands for KIND in a usage line, or behind an option: DISK, NAME, DIR and so on.
function __signpost_kind --argument-names kind current
    set -l ask $argv[3..]
    switch $kind
        case '*DISK:*'
            $ask ls -H -o disk --limit 500 -- $current 2>/dev/null | string replace --regex '$' :
        case '*DISK*' '*PREFIX*'
            $ask ls -H -o disk --limit 500 -- $current 2>/dev/null
        case '*SERVER*' NAME
            $ask servers list -H -o name 2>/dev/null
        case '*ID*'
            $ask jobs -H -o id 2>/dev/null
        case '*DIR*'
            __fish_complete_directories $current
        case '*PATH*' '*FILE*' '*DEST*' '*URL*'
            __fish_complete_path $current
        case CLASS
            string split ' ' 'global-high site-high site-normal site-low global-low'
        case WHEN
            string split ' ' 'auto always never'
    end
end

function __signpost_complete
    set -l words (commandline --tokenize --current-process --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l program $words[1]
    set -l ask $program
    set -l help (command $program --help 2>/dev/null)
    set -l rows (printf '%s\n' $help | __signpost_rows options)
    set -a rows (printf '%s\n' $help | __signpost_rows 'options of one verb')
    set -l verbs (printf '%s\n' $help | __signpost_rows verbs)

    # The verb, how many words of its own it has, and what the option before the cursor wants.
    set -l verb
    set -l place 0
    set -l value
    set -l option
    for word in $words[2..]
        if test -n "$value"
            test "$option" = --catalog; and set -a ask --catalog $word
            set value
        else if test "$word" = --
            __fish_complete_subcommand --commandline (string join ' ' -- (__signpost_behind $words) $current)
            return
        else if string match --quiet -- '-*' $word
            set option $word
            set value (string match --regex --groups-only -- \
                "^(?:-\S, )?"(string escape --style=regex -- $word)"(?: |, --\S+ )([A-Z][^\t ]*)\t" $rows)[1]
        else if test -z "$verb"
            set verb $word
        else if test $place = 0; and string match --quiet --regex -- "^$verb $word( |\t)" $verbs
            set verb "$verb $word"
        else
            set place (math $place + 1)
        end
    end

    if test -n "$value"
        __signpost_kind $value "$current" $ask
    else if string match --quiet -- '-*' "$current"
        command $program (string split ' ' -- $verb) --help 2>/dev/null | __signpost_rows options |
            string replace --regex '^(?:-\S, )?(--\S+)[^\t]*' '$1'
    else
        if test $place = 0
            set -l start (test -n "$verb"; and echo "$verb ")
            string replace --filter --regex -- "^$start([a-z]+)[^\t]*" '$1' $verbs
        end
        if test -n "$verb"
            set -l usage (string match --regex --groups-only -- "^$verb (\[?[A-Z][^\t]*)\t" $verbs)[1]
            set usage (string split ' ' -- $usage)
            if test $place -ge (count $usage); and string match --quiet -- '*...*' "$usage[-1]"
                set place (math (count $usage) - 1)
            end
            __signpost_kind "$usage[$(math $place + 1)]" "$current" $ask
        end
    end
end

# The words behind the first --.
function __signpost_behind
    set -l i (contains --index -- -- $argv)
    test $i -lt (count $argv); and printf '%s\n' $argv[(math $i + 1)..]
end

complete --command signpost --no-files --arguments '(__signpost_complete)'
