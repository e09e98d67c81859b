# Completion of options in bash, for the commands nas-* and for python -m nas.*; see nas/cli/completion.py.
_nas_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word position
    local -a words command
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[-1]}"
    COMPREPLY=()
    if [[ ${words[0]##*/} == nas-* ]]; then
        command=("${words[0]}")
    else
        for ((position = 1; position < ${#words[@]} - 2; position++)); do
            [[ ${words[position]} == -m && ${words[position + 1]} == nas.* ]] || continue
            command=("${words[@]:0:position+2}")
            break
        done
    fi
    ((${#command[@]})) || return # another program: complete files, as without this function
    command[0]="${command[0]/#\~\//$HOME/}"
    mapfile -t COMPREPLY < <(COMP_LINE="$line" COMP_POINT="${#line}" "${command[@]}" -sc query=bash 2>/dev/null)
    ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
    # bash replaces only what follows the last of these characters.
    local breaks="${COMP_WORDBREAKS//[^=:]/}"
    [[ -n $breaks ]] && COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[$breaks]}"}"}")
}
if [[ -n $ZSH_VERSION ]]; then # Hydra's help gives this script to users of zsh as well
    eval "$(@this@ -sc install=zsh)"
else
    complete -o bashdefault -o default -F _nas_complete @commands@
fi
