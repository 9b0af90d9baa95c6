#!/bin/sh
# Ends with a sentence if the given files and directories, those that exist, hold a directory that this user may not
# change, as after a run as root: `check_owner.sh PATH ...`. For one that does not exist, where it would be made.
set -eu
for path; do
    if test -e "$path"; then
        foreign=$(find "$path" -type d ! -writable -print -quit 2>/dev/null) || true
    elif test -w "$(dirname "$path")"; then
        foreign=
    else
        foreign=$(dirname "$path")
        path=$foreign
    fi
    test -z "$foreign" || {
        echo "$foreign belongs to $(stat -c %U "$foreign"), and $(id -un) may not change it." \
            "As root: chown -R $(id -un) $(realpath "$path")" >&2
        exit 1
    }
done
