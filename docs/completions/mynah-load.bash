# bash completion of mynah-load. Made from the tables of options by MYNAH_REWRITE=1 cargo test --lib manual.

_mynah_load() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word= has_url=
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $prev in
        -c | --connections | --rate | --hold | --probe | --depth | --size | -d | --duration | --subscribers | --batch | --times | --spread | --timeout | --bystanders | --sample | --tolerance | --jobs | --ramp | --source-ip | --server-pid | --max-errors | --max-p99-ms | --send | --expect | --expect-bytes | --greeting | --server-name)
            return
            ;;
        --target)
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -W 'command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            return
            ;;
        --csv | --json | --report | --cacert | --cert | --key)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
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
            -c | --connections | --rate | --hold | --probe | --depth | --size | -d | --duration | --subscribers | --batch | --times | --spread | --timeout | --bystanders | --sample | --tolerance | --target | --jobs | --ramp | --source-ip | --server-pid | --csv | --max-errors | --max-p99-ms | --json | --report | --send | --expect | --expect-bytes | --greeting | --cacert | --cert | --key | --server-name)
                [[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))
                ((i++))
                ;;
            idle | echo | fanout | storm | wake | compare | merge)
                word=${COMP_WORDS[i]}
                break
                ;;
        esac
    done
    case $word in
        idle)
            mapfile -t COMPREPLY < <(compgen -W '-c --connections --rate --hold --probe --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        echo)
            mapfile -t COMPREPLY < <(compgen -W '-c --connections --depth --size -d --duration --rate --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        fanout)
            mapfile -t COMPREPLY < <(compgen -W '--subscribers --size --batch -d --duration --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        storm)
            mapfile -t COMPREPLY < <(compgen -W '-c --connections --times --spread --orderly --no-backoff --timeout --bystanders --probe --hold --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        wake)
            mapfile -t COMPREPLY < <(compgen -W '-c --connections --hold --sample --rate --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        compare)
            mapfile -t COMPREPLY < <(compgen -W '--tolerance --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        merge)
            mapfile -t COMPREPLY < <(compgen -W '--target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name command:// command+tls:// command+unix:/// prefixed:// prefixed+tls:// prefixed+unix:/// raw:// raw+tls:// raw+unix:/// chat:// chat+tls:// chat+unix:/// admin:// admin+tls:// admin+unix:/// tcp:// tcp+tls:// tcp+unix:///' -- "$cur")
            ;;
        '')
            if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '-c --connections --rate --hold --probe --depth --size -d --duration --subscribers --batch --times --spread --orderly --no-backoff --timeout --bystanders --sample --tolerance --target --jobs --ramp --source-ip --server-pid --csv --max-errors --max-p99-ms --json --report --quiet -h --help -V --version --send --expect --expect-bytes --greeting --cacert --insecure --cert --key --server-name' -- "$cur")
            elif [[ $has_url ]]; then
                mapfile -t COMPREPLY < <(compgen -W 'idle echo fanout storm wake compare merge' -- "$cur")
            else
                mapfile -t COMPREPLY < <(compgen -W 'idle echo fanout storm wake compare merge' -- "$cur")
            fi
            ;;
    esac
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _mynah_load mynah-load
