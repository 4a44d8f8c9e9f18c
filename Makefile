# Two commands do everything: `make demo` and `make test`. `make help` lists the others.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-studio chaos check check-everything check-product bench bench-small bench-studio instructions soak fuzz

# What is kept between clones: the Python environment of the tests, and cargo-deny.
export UNDERSTUDY_CACHE ?= $(HOME)/.cache/understudy

help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

# Without the cloud adapters, which alone cost minutes, and unoptimised: the fastest way to see it.
demo: ## Two shows on air, one machine fails: watch it (ARGS="--for 20s" ends it)
	@scripts/setup-build
	cargo run --no-default-features -- demo $(ARGS)

# Everything that can be built in, traces too: one build serves the lints, the tests and the studio's.
WHOLE = --features otlp

# nextest runs each test in a process of its own, here four for a processor, since most of a test is waiting;
# documentation tests only run under cargo test. The runner's summary comes last.
test: ## Every test, with moto's EC2 API, OpenSSH and the official Socket.IO client
	@scripts/setup-test
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo test $(WHOLE) --doc && cargo nextest run $(WHOLE) --test-threads $$(( 4 * $$(getconf _NPROCESSORS_ONLN) )); \
	else \
		cargo test $(WHOLE) -- --skip on_real_software; \
	fi

# Each test in namespaces of its own, so that nothing is left behind and nothing outside is touched.
STUDIO_RUNNER = CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER
test-studio: ## The proof on real OBS, OpenSSH, systemd and an RTMP ingest; as root
	@scripts/setup-studio
	@if cargo nextest --version >/dev/null 2>&1; then \
		$(STUDIO_RUNNER)=$(CURDIR)/tests/studio/in-namespaces cargo nextest run $(WHOLE) --profile studio --test studio; \
	else \
		cargo test $(WHOLE) --no-run --test studio && for test in $$(cargo test $(WHOLE) --test studio -- --list | sed -n 's/: test$$//p'); do \
			$(STUDIO_RUNNER)=$(CURDIR)/tests/studio/in-namespaces cargo test $(WHOLE) --test studio -- --exact $$test --nocapture; \
		done; \
	fi

# The same experiments as in `make test`, for longer, and those that need root.
CHAOS = $(CURDIR)/target/chaos
chaos: ## The program killed 200 times, stopped, starved and on bad networks; report in target/chaos
	@scripts/setup-test
	rm -rf $(CHAOS) && mkdir -p $(CHAOS)
	UNDERSTUDY_CHAOS_REPORT=$(CHAOS) cargo test --no-default-features --test chaos -- --include-ignored --nocapture --test-threads 2
	@{ printf '# Chaos\n\n%s, commit %s\n\n' "$$(date -u +%F)" "$$(git rev-parse --short HEAD)"; cat $(CHAOS)/*.md; } >$(CHAOS)/report
	@mv $(CHAOS)/report $(CHAOS)/report.md && cat $(CHAOS)/report.md

# The cheap ones first. Then two at a time, in folders of their own: much of what the compiler does has one thread.
check: ## Format, licences and sources, lints, documentation, layers
	@scripts/setup-build
	cargo fmt --all --check
	scripts/cargo-deny --locked --log-level error check licenses bans sources
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-everything check-product

check-everything:
	cargo clippy --locked --all-targets $(WHOLE) -- -D warnings
	cargo test --locked $(WHOLE) --test layering

# Without the cloud adapters and traces only the product is linted again: the tests are the same.
LEAN = CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/lean
check-product:
	$(LEAN) cargo clippy --locked --lib --bins --no-default-features -- -D warnings
	$(LEAN) RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --document-private-items

# The program is built outside, where there is a network; OBS takes most of the time that is measured.
bench-studio: ## Measure both ways of restoring a studio, on real OBS; as root
	@scripts/setup-studio
	cargo bench --no-default-features --profile dev --bench restore --no-run
	tests/studio/in-namespaces tests/studio/with-obs cargo bench --offline --no-default-features --profile dev --bench restore

# What the compiler has written is on disk by then: the first figures are the disk's.
bench: ## Measure what the targets speak of
	@scripts/setup-build
	cargo bench --no-default-features --no-run
	sync
	cargo bench --no-default-features

bench-small: ## Measure small operations of hot paths
	@scripts/setup-build
	cd benches/operations && CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target} cargo bench --features whole --bench micro

# Counts do not depend on how busy the machine is. ARGS=--renew writes them down as the ones to compare with.
instructions: ## Compare the instructions of hot paths with those written down
	@scripts/setup-build $$(command -v valgrind >/dev/null || echo valgrind libc6-dbg)
	GUNGRAUN_RUNNER=$$(scripts/gungraun-runner) scripts/instructions $(ARGS)

# Optimised: it is the number of seeds that counts.
FOR ?= 1h
soak: ## Simulate seed after seed for an hour (FOR=10m SEED=1 for less, from there): shows, faults, deaths, and the rules that must hold
	@scripts/setup-build
	cargo run --release --no-default-features -- rehearse --seed $${SEED:-$$(( RANDOM * 32768 + RANDOM ))} --soak $(FOR)

fuzz: FOR = 60
fuzz: ## Fuzz everything that is read from outside for a minute each (FOR=600 seconds, TARGETS="journal studio")
	@scripts/fuzz $(FOR) $(TARGETS)
