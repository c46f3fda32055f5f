# Sourced by an interactive zsh: what it offers goes to $FOUND, and it exits behind the first Tab.
fpath=($COMPLETIONS $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    local -a found
    # With these it computes and adds nothing.
    [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]] || {
        builtin compadd -A found "$@"
        (( $#found )) && print -rl -- $found >>$FOUND
    }
    builtin compadd "$@"
}
comppostfuncs=(exit)
