#!/bin/sh
# Runs the whole test suite, after installing what it needs and this machine lacks.
#
#   sh tests/run.sh [ARGUMENT OF cargo test]...
#   sh tests/run.sh --install-only
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# shellcheck source=tests/install.sh
. "$root/tests/install.sh"

need_cargo
need_packages strace faketime hyperfine openssl mandoc
need_pebble
if [ "${1:-}" = --install-only ]; then
    exit
fi

cd "$root"
exec cargo test --locked "$@"
