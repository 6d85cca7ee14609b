# The one way in: `make run` and `make test` are all that a newcomer, a developer and CI need.
.DEFAULT_GOAL := help
.PHONY: help run web cluster test sim check fmt screenshots bench bench-web chaos chaos-cluster chaos-notify bench-cluster bench-notify bench-money chaos-money soak-money

# Where Debian puts servers, and looks for them only as root.
export PATH := $(PATH):/usr/sbin

CARGO := cargo
DENY := $(CURDIR)/target/tools/bin/cargo-deny
TYPOS := $(CURDIR)/target/venv/bin/typos

help:
	@echo 'make run            build everything and serve on http://127.0.0.1:8080 (the embedded default)'
	@echo 'make cluster        three nodes with PostgreSQL and Redis behind HAProxy on http://127.0.0.1:8080 (NODES=n PORT=n)'
	@echo 'make test           everything that CI runs; installs or starts what it needs'
	@echo 'make sim            play workflows and payments with a death after any turn, and n swarms of nodes of each suite (SEEDS=n)'
	@echo 'make check          formatting, lints, rustdoc, licences, spelling'
	@echo 'make fmt            format the code'
	@echo 'make web            build the web app, which the program serves'
	@echo 'make screenshots    take the pictures of the README from the running app'
	@echo 'make bench          measure against the reference limit; prints ratios'
	@echo 'make bench-cluster  measure what several nodes cost and give; prints ratios'
	@echo 'make bench-notify   measure how fast people are told and what chat feels of it; prints ratios (POSTGRES=1)'
	@echo 'make bench-money    measure what the ledger books, what confirming costs, how long a failover takes; prints ratios'
	@echo 'make bench-web      measure the web app in a browser: what it weighs, how soon it answers, how it bears a crowd'
	@echo 'make chaos          kill the server under load and prove that nothing is lost (SEED=n KILLS=n plays one again)'
	@echo 'make chaos-cluster  the same with several nodes, Redis and the network (SEED=n FAULTS=n plays one again)'
	@echo 'make chaos-money    kill nodes, PostgreSQL and the payment provider while people pay and take out (SEED=n KILLS=n RESTARTS=n, SQLITE=1)'
	@echo 'make soak-money     the same without kills, every fifth call of the provider wrong (MINUTES=n, SQLITE=1)'
	@echo 'make chaos-notify   kill nodes and fail every provider while people are told (SEED=n KILLS=n plays one again, SQLITE=1)'

# What npm has installed; again when something else is wanted.
node_modules/.package-lock.json: package-lock.json package.json
	@scripts/require node
	npm ci --no-audit --no-fund
	@touch $@

web: node_modules/.package-lock.json
	npm run build

run: web
	@scripts/require rust
	$(CARGO) build --locked --release --workspace
	MADANG__HTTP__DEV_OUTBOX=true exec target/release/madang serve

cluster: web
	@scripts/require rust
	$(CARGO) build --locked --release --workspace
	exec scripts/cluster

test: check
	@scripts/require curl python chromium redis nats haproxy couriers
	scripts/with-postgres $(CARGO) test --locked --workspace
	npm test
	scripts/schemathesis
	PORT=0 MADANG_BINARY=target/debug/madang scripts/cluster scripts/cluster-smoke

sim:
	@scripts/require rust
	$(if $(SEEDS),MADANG_SIM_SEEDS=$(SEEDS)) $(CARGO) test --locked --workspace --lib simulation -- --nocapture

check: web
	@scripts/require rust cargo-deny typos
	npm run check
	npm run size
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features bench/money -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(CARGO) fetch --locked
	$(DENY) --offline --workspace check --hide-inclusion-graph licenses bans sources
	$(TYPOS)

fmt:
	@scripts/require rust
	$(CARGO) fmt --all

screenshots: web
	@scripts/require rust chromium fonts
	$(CARGO) build --locked --workspace
	npm run screenshots --workspace web

bench-web: web
	@scripts/require rust chromium
	$(CARGO) build --locked --release --workspace
	npm run bench --workspace web

bench:
	@scripts/require rust
	$(CARGO) build --locked --release --workspace
	target/release/bench all --madang target/release/madang

chaos:
	@scripts/require rust
	$(CARGO) build --locked --release --workspace
	target/release/bench chaos --madang target/release/madang $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS))

chaos-cluster:
	@scripts/require rust postgresql redis
	$(CARGO) build --locked --release --workspace
	target/release/bench chaos-cluster --madang target/release/madang $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

bench-cluster:
	@scripts/require rust postgresql redis
	$(CARGO) build --locked --release --workspace
	target/release/bench cluster --madang target/release/madang

bench-notify:
	@scripts/require rust $(if $(POSTGRES),postgresql)
	$(CARGO) build --locked --release --workspace
	target/release/bench notify --madang target/release/madang $(if $(POSTGRES),--postgres)

bench-money:
	@scripts/require rust postgresql redis
	$(CARGO) build --locked --release --workspace --features bench/money
	target/release/bench money --madang target/release/madang

chaos-notify:
	@scripts/require rust $(if $(SQLITE),,postgresql redis)
	$(CARGO) build --locked --release --workspace
	target/release/bench chaos-notify --madang target/release/madang $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(SQLITE),--sqlite)

chaos-money:
	@scripts/require rust $(if $(SQLITE),,postgresql redis)
	$(CARGO) build --locked --release --workspace
	target/release/bench chaos-money --madang target/release/madang $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(RESTARTS),--restarts $(RESTARTS)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SQLITE),--sqlite)

soak-money:
	@scripts/require rust $(if $(SQLITE),,postgresql redis)
	$(CARGO) build --locked --release --workspace
	target/release/bench chaos-money --madang target/release/madang --kills 0 --faults 20 --seconds $$(( 60 * $(or $(MINUTES),10) )) $(if $(SEED),--seed $(SEED)) $(if $(SQLITE),--sqlite)
