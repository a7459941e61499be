# One word for each check; .ci/run uses the same words.

SEEDS ?= 10000
# CPU time of the random worlds of `make test`, in seconds.
SIM_CPU ?= 300
BENCH_MIB ?= 2048
LEASES ?= 5000
SIM_FLAGS ?= --profile sim
# Ctrl-C is how some things end: nothing that make has to report. The shell has to outlive it, to see that.
ENDED = { status=$$?; [ $$status -eq 130 ] || exit $$status; }
STANDINS = ministack kinesis-local dynamodb-local microburst chromium aws prometheus

.PHONY: help demo standins tools test interop chaos check fmt fmt-check clippy docs sim sim-mutants sim-scale keeper-cost bench deploy-check install stack licences reference

help: ## shows this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the main job on embedded parts, with its proof; needs Rust and nothing else
	cargo build -p penstock
	@trap : INT; cargo run -q -p penstock -- demo || $(ENDED)

stack: ## what docker-compose.yml runs, without containers: two workers, a producer, Prometheus with our alarms; until Ctrl-C
	cargo build -p penstock
	@trap : INT; scripts/stack || $(ENDED)

standins: ## installs the stand-ins that tests need; quick when they are there
	@scripts/install-standins $(STANDINS)

tools: ## installs the linters of what is deployed; quick when they are there
	@scripts/install-tools

test: standins tools ## every test, with five CPU minutes of random worlds
	cargo test --workspace --no-fail-fast
	PENSTOCK_SIM_CPU=$(SIM_CPU) cargo test -p penstock-sim $(SIM_FLAGS) --test worlds -- --nocapture

interop: ## penstock and the real Java KCL, 2.7 and 3.5, on one lease table; needs Java and Maven
	@scripts/install-standins dynamodb-local kinesis-local kcl-2 kcl-3
	cargo test --workspace --test interop -- --ignored --test-threads=4

chaos: ## three workers killed, frozen, drained, resharded, their stand-ins restarted, for two minutes each into objects and Firehose
	@scripts/install-standins ministack
	cargo test -p penstock --test chaos -- --ignored --nocapture --test-threads=1

check: fmt-check clippy docs ## formatting, lints, documentation

fmt: ## formats
	cargo fmt --all

fmt-check:
	cargo fmt --all --check

# With what only `make sim-mutants` runs; tests are built without it.
clippy:
	cargo clippy --workspace --all-targets --features penstock-sim/mutants -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

licences: ## holds the licences and versions of all dependencies against deny.toml, offline
	@scripts/install-standins cargo-deny
	cargo metadata --locked --format-version 1 >/dev/null
	$${PENSTOCK_STANDINS_DIR:-.emu}/cargo-deny/bin/cargo-deny --offline --locked check licenses bans

reference: ## writes the tables of docs/configuration.md anew, from the schema
	PENSTOCK_WRITE_REFERENCE=1 cargo test -q -p penstock --bin penstock the_documentation_holds

sim: ## the simulation, SEEDS=n random worlds and a 25th of that of each scenario, and as many worlds of coordinators alone
	PENSTOCK_SIM_SEEDS=$(SEEDS) cargo test -p penstock-sim $(SIM_FLAGS) -- --nocapture
	PENSTOCK_WORLDS=$(SEEDS) cargo test -p penstock-core $(SIM_FLAGS) --test coordinator_properties

sim-mutants: ## breaks the protocol on purpose, rule by rule, and shows that the simulation notices
	cargo test -p penstock-sim $(SIM_FLAGS) --features mutants --test mutants -- --nocapture

# The second has a bound, for what is shipped: the checks of the other profile cost a fifth.
sim-scale: ## what one worker costs that holds 5,000 leases: with its engine in the simulation, and its coordinator alone
	cargo test -p penstock-sim $(SIM_FLAGS) --test scale -- --ignored --nocapture
	cargo test -p penstock-core --release --test coordinator_load -- --ignored --nocapture

keeper-cost: ## what one worker costs that holds LEASES leases, with the SDK's calls to a table that answers at once
	PENSTOCK_LEASES=$(LEASES) cargo test --release -p penstock --test keeper_cost -- --ignored --nocapture

bench: ## memory and speed with a backlog of BENCH_MIB MiB
	PENSTOCK_BENCH_MIB=$(BENCH_MIB) cargo test --release -p penstock --test footprint -- --ignored --nocapture

deploy-check: tools ## lints and cross-checks the image, compose file, templates, policies and unit of deploy/
	cargo test -p penstock --test deploy_files --test e2e_systemd

# Where `make install` puts things; DESTDIR goes before all of it, for packages.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BIN ?= $(or $(CARGO_TARGET_DIR),target)/release/penstock
SHARE = $(DESTDIR)$(PREFIX)/share
ETC = $(DESTDIR)$(SYSCONFDIR)/penstock

# An existing configuration is never touched. A unit is read below /usr/local/lib and /usr/lib, with any other PREFIX not.
install: ## puts program, service, user and a first configuration on a Debian host; `cargo build --release` first
	@test -x $(BIN) || { echo "make install: there is no $(BIN): run cargo build --release first" >&2; exit 1; }
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/penstock
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d
	sed 's|/usr/local/|$(PREFIX)/|g; s|/etc/penstock|$(SYSCONFDIR)/penstock|g' deploy/systemd/penstock.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/penstock.service
	install -m 644 deploy/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/penstock.conf
	install -D -m 644 config/penstock.toml $(SHARE)/doc/penstock/penstock.toml
	install -d $(SHARE)/man/man1 $(SHARE)/bash-completion/completions
	$(BIN) manual --dir $(SHARE)/man/man1
	$(BIN) completions bash >$(SHARE)/bash-completion/completions/penstock
	install -d $(ETC)
	@test -e $(ETC)/penstock.toml || install -m 644 deploy/systemd/penstock.toml $(ETC)/penstock.toml
	@test -e $(ETC)/environment || install -m 600 deploy/systemd/environment $(ETC)/environment
	@test -n "$(DESTDIR)" || systemd-sysusers penstock.conf
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || systemctl daemon-reload
