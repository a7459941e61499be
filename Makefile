# One word for each check; .ci/run uses the same words.

SEEDS ?= 10000
# CPU time of the random worlds of `make test`, in seconds.
SIM_CPU ?= 300
BENCH_MIB ?= 2048
SIM_FLAGS ?= --profile sim
STANDINS = ministack kinesis-local dynamodb-local microburst chromium aws prometheus

.PHONY: help demo standins test interop chaos check fmt fmt-check clippy docs sim sim-mutants sim-scale bench stack licences reference

help: ## shows this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the main job on embedded parts, with its proof; needs Rust and nothing else
	cargo build -p penstock
	@cargo run -q -p penstock -- demo

stack: ## what docker-compose.yml runs, without containers: two workers, a producer, Prometheus with our alarms; until Ctrl-C
	cargo build -p penstock
	@scripts/stack

standins: ## installs the stand-ins that tests need; quick when they are there
	@scripts/install-standins $(STANDINS)

test: standins ## every test, with five CPU minutes of random worlds
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

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

licences: ## holds the licences and versions of all dependencies against deny.toml, offline
	@scripts/install-standins cargo-deny
	cargo metadata --locked --format-version 1 >/dev/null
	$${PENSTOCK_STANDINS_DIR:-.emu}/cargo-deny/bin/cargo-deny --offline --locked check licenses bans

reference: ## writes the tables of docs/configuration.md anew, from the schema
	PENSTOCK_WRITE_REFERENCE=1 cargo test -q -p penstock --bin penstock the_documentation_holds

sim: ## the simulation, SEEDS=n random worlds and a 25th of that of each scenario
	PENSTOCK_SIM_SEEDS=$(SEEDS) cargo test -p penstock-sim $(SIM_FLAGS) -- --nocapture

# Flags for all crates mean a build of its own, apart from the ordinary one.
sim-mutants: ## breaks the protocol on purpose, rule by rule, and shows that the simulation notices
	RUSTFLAGS="--cfg penstock_mutants" CARGO_TARGET_DIR=target/mutants \
		cargo test -p penstock-sim $(SIM_FLAGS) --test mutants -- --nocapture

sim-scale: ## what one worker costs that holds 5,000 leases, in the simulation
	cargo test -p penstock-sim $(SIM_FLAGS) --test scale -- --ignored --nocapture

bench: ## memory and speed with a backlog of BENCH_MIB MiB
	PENSTOCK_BENCH_MIB=$(BENCH_MIB) cargo test --release -p penstock --test footprint -- --ignored --nocapture
