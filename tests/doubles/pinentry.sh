#!/bin/sh
# A pinentry for tests: answers as the file `mode` beside it says (pin TEXT, cancel, timeout, die, empty, yes, no, hang)
# and appends every line that it got to `log`.
folder=$(dirname "$0")
mode=$(cat "$folder/mode")
printf 'OK Pleased to meet you\n'
while IFS= read -r line; do
    printf '%s\n' "$line" >> "$folder/log"
    case "$line" in
    GETPIN* | CONFIRM*)
        case "$mode" in
        pin\ *) printf 'D %s\nOK\n' "${mode#pin }" ;;
        cancel) printf 'ERR 83886179 Operation cancelled <Pinentry>\n' ;;
        no) printf 'ERR 83886194 Not confirmed <Pinentry>\n' ;;
        timeout) printf 'ERR 83886142 Timeout <Pinentry>\n' ;;
        die) exit 1 ;;
        hang) exec sleep 1000 ;;
        *) printf 'OK\n' ;;
        esac
        ;;
    BYE*)
        printf 'OK closing connection\n'
        exit 0
        ;;
    *) printf 'OK\n' ;;
    esac
done
