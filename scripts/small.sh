#!/usr/bin/env bash
# small.sh [SECONDS [MEBIBYTES]]: weir in a small place: 0.5 CPU, 128 MiB, 10,000 routes, 1,000 requests per second. Says the latencies free and confined,
# and fails when a request was lost, the process was killed, or p99 more than doubled. Needs root and writable cgroups.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20} mebibytes=${2:-128}
cargo build --quiet --release -p weir -p weir-ledger
work=$(mktemp -d); weir=0; backend=0
group=weir-small-$$
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  folders=("/sys/fs/cgroup/$group"); mkdir "${folders[0]}"
  echo "50000 100000" > "${folders[0]}/cpu.max"; echo $((mebibytes << 20)) > "${folders[0]}/memory.max"
else
  folders=("/sys/fs/cgroup/cpu/$group" "/sys/fs/cgroup/memory/$group"); mkdir "${folders[@]}"
  echo 50000 > "${folders[0]}/cpu.cfs_quota_us"; echo $((mebibytes << 20)) > "${folders[1]}/memory.limit_in_bytes"
fi
end() { kill $weir $backend 2>/dev/null || true; wait 2>/dev/null || true; rmdir "${folders[@]}"; rm -r "$work"; }
trap end EXIT

target/release/ledger serve > "$work/port" & backend=$!
until [ -s "$work/port" ]; do sleep 0.1; done
python3 - "$(cat "$work/port")" > "$work/mesh.yaml" <<'P'
import sys
print(f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {sys.argv[1]} }}]
  endpoints: [{{ address: 127.0.0.1 }}]""")
for host in range(1000):
    print(f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: h{host} }}\nspec:\n  hosts: [h{host}.test]\n  http:")
    for rule in range(9):
        print(f"  - match: [{{ uri: {{ prefix: /r{rule}/ }} }}]\n    route: [{{ destination: {{ host: app.test }} }}]")
    print("  - route: [{ destination: { host: app.test } }]")
P

measure() { # NAME: starts weir by the words behind it
  name=$1; shift
  "$@" target/release/weir run --access-log off --outbound 127.0.0.1:18001 --admin 127.0.0.1:18000 -f "$work/mesh.yaml" 2> "$work/$name" & weir=$!
  until curl -sf http://127.0.0.1:18000/ready > /dev/null; do kill -0 $weir; sleep 0.1; done
  target/release/ledger send 127.0.0.1:18001 h777.test $((seconds * 1000)) 16 1000 > "$work/$name.out"
  kill -0 $weir
  echo "$name: $(tail -1 "$work/$name.out"), resident $(awk '/VmRSS/ {print $2}' "/proc/$weir/status") KiB, $(grep -o '[0-9]* workers' "$work/$name")"
  kill $weir; wait $weir
}
confined() { for folder in "${folders[@]}"; do echo $BASHPID > "$folder/cgroup.procs"; done; exec "$@"; }

measure free
measure confined confined
p99() { grep -o 'p99 [0-9]*' "$work/$1.out" | cut -d' ' -f2; }
[ "$(p99 confined)" -le $((2 * $(p99 free))) ] || { echo "p99 more than doubled"; exit 1; }
