# Each target is a plain command; run it by itself to give it flags.
.PHONY: demo test test-long crash growth conftest lint tools tofu bench build release programs

# A container's whole way on an embedded Azure, with real Terraform and azurerm.
demo: build
	bin/sockerless-backend-azf demo

# Every test but the long ones. The first run on a machine prepares terraform and the provider.
test: tools tofu programs
	go test -race -timeout 60m -skip '^TestLong' ./...

# The long ones, whose names begin with TestLong: processes that are killed, full disks, lost databases, more clients,
# a release, a small benchmark.
test-long: tools tofu programs
	go test -race -timeout 60m -run '^TestLong' ./...

# Daemons are killed N times at random moments, one alone and one of three; then what is left is compared with what was answered.
N ?= 200
crash: tools programs
	go test -timeout 6h -v -run '^TestLongCrash' ./internal/daemon -crash.n $(N) -crash.seed 0

# The database's size after N containers have lived and gone, and after a tenth of them.
growth:
	go test -timeout 6h -v -run TestGrowth ./internal/engine -growth.n $(N)

# What conftest itself says of the policies in internal/policy/testdata/conftest. The first run builds it, in about five minutes.
conftest:
	go test -run TestConftest ./internal/policy -conftest

lint:
	go tool -modfile=internal/tools/lint/go.mod golangci-lint run ./...

# Find, install or build terraform and the azurerm provider.
tools:
	go run ./cmd/sockerless-backend-azf tools

# OpenTofu, which tests need beside terraform: built from source where it is not on PATH, in about three minutes, once.
tofu:
	go run ./cmd/sockerless-backend-azf tools --tofu

# What containers cost, against plain terraform: tables, and the same in bench.json. About 20 minutes, on a machine that does nothing else.
bench:
	go run ./cmd/azf-bench

# All programs, static and stripped, in bin.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

# A release in dist: archives, deb and rpm for amd64 and arm64, SBOMs, checksums. VERSION=1.2.3 overrides the version of git.
release:
	packaging/release.sh

# Programs that tests drive: Debian's, where there are none and they may be installed, and compose for the docker CLI,
# which Go builds once, in about two minutes.
programs:
	@$(call installed,dpkg,dpkg)
	@$(call installed,rpm,rpm)
	@$(call installed,docker,docker-cli docker.io)
	@$(call installed,npm,npm)
	@$(call installed,docker-compose,docker-compose)
	@$(call installed,ansible-playbook,ansible)
	@$(call present,/usr/bin/python3 -c 'import docker' 2>/dev/null,docker for /usr/bin/python3,python3-docker)
	@PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; $(call installed,postgres,postgresql)
	go tool -n -modfile=internal/tools/compose/go.mod github.com/docker/compose/v5/cmd

# A program, and the packages that may have it, which are tried in order.
installed = $(call present,command -v $(1) >/dev/null,$(1),$(2))

# A command that succeeds where something is installed, the thing's name, and packages as above.
present = $(1) || { apt-get update; for package in $(3); do \
	apt-get install -y --no-install-recommends $$package && break; done; }; \
	$(1) || echo "make: $(2) could not be installed, tests that need it fail" >&2
