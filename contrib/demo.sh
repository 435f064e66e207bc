#!/bin/sh
# Shows certctl's main job against a CA of its own: the first `certctl renew` obtains a certificate, the next one has
# nothing to do and says so by saying nothing. Needs Go for the CA (Pebble), stays on 127.0.0.1 and leaves nothing behind.
#
#   sh contrib/demo.sh
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# shellcheck source=tests/install.sh
. "$root/tests/install.sh"

main() {
    need_packages openssl
    need_pebble
    build_certctl
    dir=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    cd "$dir"
    start_ca
    write_config

    show certctl --config certctl.toml --state-dir state renew

    certificate=state/live/demo.example/fullchain.pem
    show openssl x509 -in "$certificate" -noout -ext subjectAltName -dates
    names=$(openssl x509 -in "$certificate" -noout -ext subjectAltName)
    for name in demo.example www.demo.example; do
        case "$names," in
            *"DNS:$name,"*) ;;
            *) die "the certificate is not for $name" ;;
        esac
    done

    set -- certctl --config certctl.toml --state-dir state renew
    echo "\$ $*"
    status=0
    start=$(milliseconds)
    "$@" >output 2>&1 || status=$?
    end=$(milliseconds)
    [ "$status" -eq 0 ] || die "a run with nothing to do ended with exit code $status: $(cat output)"
    [ ! -s output ] || die "a run with nothing to do was not silent: $(cat output)"
    echo "(no output, exit code 0, $((end - start)) ms)"

    show certctl --config certctl.toml --state-dir state plan
    show certctl --config certctl.toml --state-dir state status
}

# Puts a certctl that is not older than its source first in PATH.
build_certctl() {
    release=${CARGO_TARGET_DIR:-$root/target}/release
    newer=
    if [ -x "$release/certctl" ]; then
        newer=$(find "$root/src" "$root/Cargo.toml" "$root/Cargo.lock" -newer "$release/certctl")
    fi
    if [ ! -x "$release/certctl" ] || [ -n "$newer" ]; then
        need_cargo
        (cd "$root" && cargo build --release --locked)
    fi
    # The rest runs in another directory.
    case $release in /*) ;; *) release=$PWD/$release ;; esac
    PATH=$release:$PATH
}

# Starts Pebble, and the name server that tells it that every name is at 127.0.0.1.
start_ca() {
    make_tls_certificate
    acme=$(free_port 14000)
    http=$(free_port $((acme + 1)))
    tls=$(free_port $((http + 1)))
    dns=$(free_port $((tls + 1)))
    dns_management=$(free_port $((dns + 1)))
    cat >pebble.json <<END
{"pebble": {
    "listenAddress": "127.0.0.1:$acme",
    "certificate": "tls.pem",
    "privateKey": "tls.key",
    "httpPort": $http,
    "tlsPort": $tls,
    "keyAlgorithm": "ecdsa",
    "retryAfter": {"authz": 1, "order": 1}
}}
END
    "$PEBBLE_BIN_DIR/pebble-challtestsrv" -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' -doh '' \
        -dnsserver "127.0.0.1:$dns" -management "127.0.0.1:$dns_management" >dns.log 2>&1 &
    dns_pid=$!
    PEBBLE_VA_NOSLEEP=1 "$PEBBLE_BIN_DIR/pebble" -config pebble.json -dnsserver "127.0.0.1:$dns" >pebble.log 2>&1 &
    pebble_pid=$!
    await "$dns_pid" "$dns_management" dns.log
    await "$pebble_pid" "$acme" pebble.log
}

write_config() {
    cat >certctl.toml <<END
[[certificate]]
domains = ["demo.example", "www.demo.example"]
ca = "pebble"
standalone = true

[ca.pebble]
directory = "https://localhost:$acme/dir"
roots = "$dir/roots.pem"

[listen]
http = ["127.0.0.1:$http"]
END
}

# Makes a root, roots.pem, and a certificate of it for localhost, tls.pem and tls.key.
make_tls_certificate() {
    cat >openssl.cnf <<'END'
[req]
distinguished_name = name
prompt = no
[name]
CN = certctl demo
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
END
    {
        openssl ecparam -name prime256v1 -genkey -noout -out roots.key &&
            openssl req -config openssl.cnf -new -x509 -extensions root -days 2 -key roots.key -out roots.pem &&
            openssl ecparam -name prime256v1 -genkey -noout -out tls.key &&
            openssl req -config openssl.cnf -new -subj /CN=localhost -key tls.key -out tls.csr &&
            openssl x509 -req -in tls.csr -CA roots.pem -CAkey roots.key -CAcreateserial -days 2 \
                -extfile openssl.cnf -extensions leaf -out tls.pem
    } >openssl.log 2>&1 || die "openssl cannot make a certificate: $(cat openssl.log)"
}

# Prints the first port from a number on that no socket of this machine has; where there is no /proc, that number.
free_port() {
    port=$1
    while cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null |
        grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf '%04X' "$port") "; do
        port=$((port + 1))
    done
    echo "$port"
}

# Waits, 10 s at most, until a process of ours listens at a port.
#   await PID PORT LOG
await() {
    tries=0
    until kill -0 "$1" 2>/dev/null && openssl s_client -connect "127.0.0.1:$2" </dev/null 2>&1 | grep -q '^CONNECTED'; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ] || ! kill -0 "$1" 2>/dev/null; then
            die "nothing answers at 127.0.0.1:$2: $(cat "$3")"
        fi
        sleep 0.1
    done
}

# Prints a command, then runs it.
show() {
    echo "\$ $*"
    "$@"
}

# The time of day, where date knows it that well.
milliseconds() {
    case $(date +%N) in
        *[!0-9]*) date +%s000 ;;
        *) echo "$(($(date +%s%N) / 1000000))" ;;
    esac
}

clean_up() {
    status=$?
    trap - EXIT
    for pid in ${pebble_pid:-} ${dns_pid:-}; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    cd /
    rm -rf "$dir"
    exit "$status"
}

main
