# Completion of options in fish, for the commands nas-* and for python -m nas.*; see nas/cli/completion.py.
function __nas_command
    set -l words (commandline -opc)
    if string match -q 'nas-*' (path basename $words[1])
        echo $words[1]
        return
    end
    set -l at (contains -i -- -m $words)
    and string match -q 'nas.*' -- $words[(math $at + 1)]
    and string join \n -- $words[1..(math $at + 1)]
end
function __nas_complete
    set -l command (__nas_command)
    COMP_LINE=(commandline -cp) COMP_POINT= $command -sc query=fish 2>/dev/null
end
for __nas_name in @commands@
    complete -c $__nas_name -n '__nas_command >/dev/null' -f -a '(__nas_complete)'
end
set -e __nas_name
