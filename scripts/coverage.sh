#!/usr/bin/env bash
# coverage.sh [LEAST]: line coverage of the parsers by their own tests, file by file; fails when all together are below LEAST
# percent (default 90). Needs the toolchain's llvm-tools (rustup component add llvm-tools).
set -euo pipefail
cd "$(dirname "$0")/.."
least=${1:-90}
tools=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin)
[ -x "$tools/llvm-cov" ] || rustup component add llvm-tools
parsers=(crates/wire/src/{head,body,frame,target,scan,hops,field,malformed}.rs
  crates/config/src/{yaml,decode,meta,duration,url,re2}.rs crates/config/src/yaml/split.rs)
export CARGO_TARGET_DIR=$PWD/target/coverage RUSTFLAGS="-C instrument-coverage" WEIR_FUZZ_CASES=${WEIR_FUZZ_CASES:-1000}
export LLVM_PROFILE_FILE=$PWD/target/coverage/profiles/%p-%m.profraw
rm -rf target/coverage/profiles
binaries=$(cargo test --no-run --message-format=json -p weir-wire -p weir-config 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
cargo test --quiet -p weir-wire -p weir-config >/dev/null
"$tools/llvm-profdata" merge -sparse -o target/coverage/all.profdata target/coverage/profiles/*.profraw
objects=(); for binary in $binaries; do objects+=(-object "$binary"); done
"$tools/llvm-cov" export -summary-only -instr-profile target/coverage/all.profdata "${objects[@]:1}" "${parsers[@]}" |
  python3 -c '
import json, sys
least, covered, count = float(sys.argv[1]), 0, 0
for file in json.load(sys.stdin)["data"][0]["files"]:
    lines = file["summary"]["lines"]
    covered, count = covered + lines["covered"], count + lines["count"]
    print("%6.1f %%  %4d of %4d  %s" % (lines["percent"], lines["covered"], lines["count"], file["filename"].split("/crates/")[-1]))
print("%6.1f %%  %4d of %4d  all" % (100 * covered / count, covered, count))
sys.exit(100 * covered / count < least)' "$least"
