# bash completion of mynah. Made from the tables of options by MYNAH_REWRITE=1 cargo test --lib manual.

_mynah() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word= has_url=
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $prev in
        -l | --listen)
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -W 'command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// plugin:// plugin+tls:// plugin+unix:///' -- "$cur")
            return
            ;;
        -c | --config | --tls-cert | --tls-key | --tls-client-ca | --accounts | --admin-token | --log-file)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        -m | --max-clients | --max-frame | --idle-timeout | --tcp-keepalive | --frame-timeout | --drain-timeout | --handshake-timeout | --max-per-ip | --connect-rate | --limit-exempt | --message-rate | --broadcast-rate | --cluster | --send-queue | --broadcast-log | --memory-limit | --plugin-budget | --plugin-memory)
            return
            ;;
        --plugin-dir)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            return
            ;;
        --log-level)
            mapfile -t COMPREPLY < <(compgen -W 'off error warn info debug trace' -- "$cur")
            return
            ;;
        --log-format)
            mapfile -t COMPREPLY < <(compgen -W 'full plain' -- "$cur")
            return
            ;;
        :)
            return
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '-l --listen -c --config --check -m --max-clients --max-frame --idle-timeout --tcp-keepalive --frame-timeout --drain-timeout --tls-cert --tls-key --tls-client-ca --handshake-timeout --max-per-ip --connect-rate --limit-exempt --message-rate --broadcast-rate --accounts --allow-register --admin-token --cluster --send-queue --broadcast-log --memory-limit --plugin-dir --plugin-budget --plugin-memory --no-plugins --log-level -v --verbose -q --quiet --log-format --log-file -h --help -V --version' -- "$cur")
}

complete -F _mynah mynah
