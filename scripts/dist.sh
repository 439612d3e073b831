#!/usr/bin/env bash
# dist.sh: builds target/dist/weir as packages ship it. The compiler sees first how often each line runs under a load of many kinds (train.py, a
# minute), and then builds again: what is rare goes out of the way of what is run for every request. Takes twice as long as
# `cargo build --profile dist`, which is the same program without that knowledge. Needs the toolchain's llvm-tools and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin)
[ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools
work=$PWD/target/trained
rm -rf "$work/profiles"; mkdir -p "$work/profiles"

echo "1 of 3: a build that counts" >&2
cargo build --quiet --profile dist -p weir-ledger
RUSTFLAGS="-C profile-generate=$work/profiles" CARGO_TARGET_DIR=$work/counting cargo build --quiet --profile dist -p weir
# What build scripts counted of themselves.
rm -f "$work"/profiles/*

echo "2 of 3: a load for it" >&2
python3 scripts/train.py "$work/counting/dist/weir" target/dist/ledger
"$tools/llvm-profdata" merge --sparse --output "$work/weir.profdata" "$work/profiles"

echo "3 of 3: the build that knows" >&2
RUSTFLAGS="-C profile-use=$work/weir.profdata" CARGO_TARGET_DIR=$work/knowing cargo build --quiet --profile dist -p weir
cp "$work/knowing/dist/weir" target/dist/weir
ls -l target/dist/weir
