# Each target is a plain command; run it by itself to give it flags.
.PHONY: demo test lint tools build docker-cli

# A container's whole way on an embedded Azure, with real Terraform and azurerm.
demo:
	go run ./cmd/sockerless-backend-azf demo

# Every test. The first run on a machine prepares terraform and the provider.
test: tools docker-cli
	go test -race -timeout 30m ./...

lint:
	go tool -modfile=internal/tools/lint/go.mod golangci-lint run ./...

# Find, install or build terraform and the azurerm provider.
tools:
	go run ./cmd/sockerless-backend-azf tools

# The daemon and the handler that goes into images, both static, in bin.
build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

# The docker CLI that tests drive: Debian's where there is none and it may be installed.
docker-cli:
	@command -v docker >/dev/null || { apt-get update && { apt-get install -y --no-install-recommends docker-cli || \
		apt-get install -y --no-install-recommends docker.io; }; } || \
		echo "make: no docker CLI could be installed: put one on PATH, TestDockerCLI fails without it" >&2
