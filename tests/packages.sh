#!/bin/sh
# Install the Debian packages of a list, else those that the tests start; without root, name those that are missing.
set -eu
wanted=$(grep -v '^#' "${1:-$(dirname "$0")/packages.txt}")
missing=
for package in $wanted; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
    }
else
    echo "Not installed, what needs them is skipped:$missing (as root: apt-get install$missing)"
fi
