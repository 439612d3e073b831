# One line each; CI runs only these.
.PHONY: check test dist conformance bench instructions fuzz planted golden soak coverage deny book
check: ; cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
test: ; bash scripts/test.sh
conformance: ; target/venv/bin/python conformance/check.py --weir target/release/weir --jobs 4
dist: ; bash scripts/dist.sh
bench: ; bash scripts/dist.sh && WEIR_BIN=target/dist/weir python3 bench/bench.py --proxies haproxy,weir,weir-mesh --scenarios h1-sat,h1-hdrs,idle
instructions: ; cargo bench --bench request
fuzz: ; bash scripts/fuzz.sh
planted: ; bash scripts/planted.sh
# With the real tools, where they are installed: built from source they take longer than all tests, so CI runs scripts/dependencies.py.
deny: ; cargo deny check bans licenses sources && cargo shear
book: ; mdbook build docs --dest-dir target/book
coverage: ; bash scripts/coverage.sh
golden: ; WEIR_GOLDEN=renew cargo test -p weir-sim --test script && WEIR_GOLDEN=renew cargo test --test docs fields
soak: ; WEIR_SOAK=1 cargo test --release --test ledger --test streams --test limits --test tls -- --test-threads 1 --nocapture && target/venv/bin/python conformance/grpc_calls.py --messages 1000000 --direct && bash scripts/small.sh
