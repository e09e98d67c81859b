# Completion of options in zsh, for the commands nas-* and for python -m nas.*; see nas/cli/completion.py.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_nas_complete() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" position
    local -a command found
    if [[ ${words[1]:t} == nas-* ]]; then
        command=("${words[1]}")
    else
        for (( position = 2; position < CURRENT - 1; position++ )); do
            [[ ${words[position]} == -m && ${words[position + 1]} == nas.* ]] || continue
            command=("${(@)words[1,position+1]}")
            break
        done
    fi
    (( $#command )) || { _default; return }
    command[1]="${command[1]/#\~\//$HOME/}"
    found=("${(@f)$(COMP_LINE="$line" COMP_POINT="$#line" "${command[@]}" -sc query=zsh 2>/dev/null)}")
    local -a more=(${(M)found:#*[=./]}) whole=(${found:#*[=./]})
    compadd -S '' -a more # an incomplete option: no space after it
    compadd -a whole
}
compdef _nas_complete @commands@
