# Each target is a plain command; run it by itself to give it flags.
.PHONY: demo test lint tools build

# A container's whole way on an embedded Azure, with real Terraform and azurerm.
demo:
	go run ./cmd/sockerless-backend-azf demo

# Every test. The first run on a machine prepares terraform and the provider.
test: tools
	go test -race -timeout 30m ./...

lint:
	go tool -modfile=internal/tools/lint/go.mod golangci-lint run ./...

# Find, install or build terraform and the azurerm provider.
tools:
	go run ./cmd/sockerless-backend-azf tools

# The daemon and the handler that goes into images, both static, in bin.
build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...
