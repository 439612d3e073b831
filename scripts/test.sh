#!/usr/bin/env bash
# Installs what the tests need, then runs all of them; says how long each stage took.
set -euo pipefail
cd "$(dirname "$0")/.."
times=()

stage() {
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@"
  times+=("$((SECONDS - began)) s  $name")
  echo "== $name: $((SECONDS - began)) s"
}

# Debian's package for a command that is missing.
install() {
  echo "installing $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# The tests send signals by `kill`, share limits by a real Redis, and have it and a real PostgreSQL behind weir; the conformance scenarios need PyYAML, and h2 for those that
# speak HTTP/2; gRPC's own client and server are Python's grpcio.
environment() {
  type -P kill >/dev/null || install procps
  type -P redis-server redis-cli >/dev/null || install redis-server redis-tools
  { type -P psql && ls /usr/lib/postgresql/*/bin/pgbench; } >/dev/null 2>&1 || install postgresql
  if ! target/venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf target/venv
    python3 -m venv target/venv >/dev/null 2>&1 || { install python3-venv && python3 -m venv target/venv; }
  fi
  target/venv/bin/python -c 'import yaml, h2, grpc, grpc_health.v1, websockets' 2>/dev/null ||
    target/venv/bin/pip install --quiet --disable-pip-version-check -r conformance/requirements.txt
}

conformance() { target/venv/bin/python conformance/check.py --weir target/release/weir --jobs 4 "$@"; }
frames() { target/venv/bin/python conformance/frames.py --weir target/release/weir >target/frames.txt || { cat target/frames.txt; return 1; }; tail -1 target/frames.txt; }
grpc() { target/venv/bin/python conformance/grpc_calls.py --weir target/release/weir; }
websocket() { target/venv/bin/python conformance/websockets_check.py --weir target/release/weir; }
fuzz_smoke() { WEIR_FUZZ_CASES=1000 cargo test --quiet -p weir-wire -p weir-config --test fuzz; }
reference() { RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps; }

mkdir -p target
stage "environment" environment
stage "dependencies" python3 scripts/dependencies.py
stage "format" cargo fmt --all --check
stage "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
stage "reference" reference
stage "fuzz smoke" fuzz_smoke
stage "release build" cargo build --quiet --release
stage "conformance" conformance
stage "conformance, own defaults" conformance --without-compatibility
stage "HTTP/2 in raw frames" frames
stage "gRPC" grpc
stage "WebSocket" websocket
stage "tests" cargo test --workspace
printf '%s\n' "" "all stages passed in $SECONDS s:" "${times[@]}"
