# bash completion of mynah-cli. Made from the tables of options by MYNAH_REWRITE=1 cargo test --lib manual.

_mynah_cli() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word= has_url=
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $prev in
        -H | --host | -p | --port | --timeout | --user | --server-name)
            return
            ;;
        --protocol)
            mapfile -t COMPREPLY < <(compgen -W 'command prefixed raw chat admin plugin' -- "$cur")
            return
            ;;
        --config | --token | --cacert | --cert | --key)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        --admin)
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -W 'command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// plugin:// plugin+tls:// plugin+unix:///' -- "$cur")
            return
            ;;
        :)
            return
            ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i + 1]} == :* ]]; then
            has_url=1
            continue
        fi
        case ${COMP_WORDS[i]} in
            -H | --host | -p | --port | --protocol | --config | --timeout | --user | --admin | --token | --cacert | --cert | --key | --server-name)
                [[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))
                ((i++))
                ;;
            echo | rev | broadcast | status | call | listen | send | chat | status | passwd)
                word=${COMP_WORDS[i]}
                break
                ;;
        esac
    done
    case $word in
        passwd)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        '')
            if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '-H --host -p --port --protocol --config --timeout --user --admin --token --json --watch -y --yes --no-history -h --help -V --version --cacert --insecure --cert --key --server-name' -- "$cur")
            elif [[ $has_url ]]; then
                mapfile -t COMPREPLY < <(compgen -W 'echo rev broadcast status call listen send chat status passwd' -- "$cur")
            else
                mapfile -t COMPREPLY < <(compgen -W 'echo rev broadcast status call listen send chat status passwd command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// plugin:// plugin+tls:// plugin+unix:///' -- "$cur")
            fi
            ;;
    esac
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _mynah_cli mynah-cli
