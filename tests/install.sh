# What the tests and the demo need beside cargo. To be sourced, by a POSIX sh or bash, with $root set to the top of the
# repository. Nothing is installed that is there already; everything it says goes to stderr.
# shellcheck shell=sh

: "${root:?has to be set by whoever sources this}"

# The version of Pebble that the tests expect.
pebble_version=v2.10.1

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "error: $1"
    shift
    for hint in "$@"; do
        say "hint: $hint"
    done
    exit 1
}

# Fails unless a program is there.
#   need_program PROGRAM HINT
need_program() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing" "$2"
}

need_cargo() {
    need_program cargo 'install Rust 1.89 or later, with cargo in PATH'
}

# Sets and exports PEBBLE_BIN_DIR, the directory with pebble and pebble-challtestsrv; installs both into target/tools
# when no usual place has them in the right version.
need_pebble() {
    tools=$root/target/tools
    for dir in "${PEBBLE_BIN_DIR:-}" "$tools" "$(dir_of pebble)" "$(go_path)/bin"; do
        if has_pebble "$dir"; then
            PEBBLE_BIN_DIR=$dir
            export PEBBLE_BIN_DIR
            return
        fi
    done
    need_program go "install Go 1.24 or later, or put pebble and pebble-challtestsrv $pebble_version into PATH"
    say "installing pebble and pebble-challtestsrv $pebble_version into $tools"
    mkdir -p "$tools"
    module=github.com/letsencrypt/pebble/v2/cmd
    GOBIN=$tools go install \
        "$module/pebble@$pebble_version" "$module/pebble-challtestsrv@$pebble_version" </dev/null >&2 ||
        die "cannot install pebble $pebble_version" 'its modules come through the Go module proxy: is it reachable?'
    has_pebble "$tools" || die "what go installed into $tools is not pebble $pebble_version"
    PEBBLE_BIN_DIR=$tools
    export PEBBLE_BIN_DIR
}

# Tells whether a directory has both programs in the right version. What `go install` builds prints its version as
# "dev", but every Go program carries the version of its main module as text.
has_pebble() {
    [ -n "$1" ] && [ -x "$1/pebble" ] && [ -x "$1/pebble-challtestsrv" ] || return 1
    [ "$("$1/pebble" -version)" = "Pebble version: ${pebble_version#v}" ] ||
        LC_ALL=C grep -q "$(printf 'pebble/v2\t%s\t' "$pebble_version")" "$1/pebble"
}

dir_of() {
    program=$(command -v "$1" 2>/dev/null) || return 0
    dirname "$program"
}

go_path() {
    if command -v go >/dev/null 2>&1; then
        go env GOPATH
    else
        printf '%s\n' "${HOME:-}/go"
    fi
}

# Installs the packages of the programs that are missing, where that is possible without a question; each program is in
# the Debian package of its name.
#   need_packages PROGRAM...
need_packages() {
    missing=
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        die "missing:$missing" "install them; on Debian and Ubuntu: sudo apt-get install$missing"
    fi
    say "installing$missing"
    # shellcheck disable=SC2086 # One word per package.
    {
        apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qqy install --no-install-recommends $missing
    } </dev/null >&2 || die "cannot install$missing"
}
