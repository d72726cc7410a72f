#!/bin/sh
# Builds a release into dist: archives, a deb and an rpm for each architecture, an SBOM of each program, and SHA256SUMS.
# The same commit gives the same bytes, wherever it is built with the same Go.
#
#	packaging/release.sh
#
# VERSION is the version, by default that of git; ARCHS the architectures; PROGRAMS the programs, of which the daemon must
# be one; DIST the folder.
set -eu
cd "$(dirname "$0")/.."

name=sockerless-backend-azf
archs=${ARCHS:-amd64 arm64}
programs=${PROGRAMS:-$name azuresim azf-bench}
dist=${DIST:-dist}
commit=$(git rev-parse --verify --quiet HEAD || echo unknown)

# 1.2.3 at the tag v1.2.3, 1.2.3+4.gabcdef0 four commits later, 0.0.0+512.gabcdef0 before the first tag.
describe() {
	if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
		echo "${described#v}" | sed -E 's/-([0-9]+)-(g[0-9a-f]+)$/+\1.\2/'
	elif count=$(git rev-list --count HEAD 2>/dev/null); then
		echo "0.0.0+$count.g$(git rev-parse --short HEAD)"
	else
		echo "release: there is no git checkout: give VERSION" >&2
		return 1
	fi
}
version=${VERSION:-}
if [ -z "$version" ]; then
	version=$(describe)
	[ -z "$(git status --porcelain)" ] || version="$version.dirty"
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# Go's own stamp would name another version than VERSION does.
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off GOOS=linux
ldflags="-s -w -X main.version=$version -X main.commit=$commit"

# tool runs a program of the release module on this machine, whatever is built.
tool() {
	env -u GOOS -u GOARCH go tool -modfile=internal/tools/release/go.mod "$@"
}

if [ -n "${DIST:-}" ] && [ -e "$dist" ]; then
	echo "release: $dist exists" >&2
	exit 1
fi
rm -rf "$dist"
mkdir -p "$dist"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# archive packs a staged folder: same content, same bytes.
archive() {
	find "$stage/$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
	tar --create --directory "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$1" |
		gzip --no-name >"$dist/$1.tar.gz"
}

# The programs, and azf-handler for images that users build themselves.
host=$(go env GOHOSTARCH)
for arch in $archs; do
	mkdir -p "$stage/$arch/bin"
	for program in $programs azf-handler; do
		GOARCH=$arch go build -trimpath -ldflags "$ldflags" -o "$stage/$arch/bin/" "./cmd/$program"
	done
done
if [ ! -e "$stage/$host/bin/$name" ]; then
	GOARCH=$host go build -trimpath -ldflags "$ldflags" -o "$stage/$host/bin/" "./cmd/$name"
fi

# What is the same for each architecture: documentation, units, completion, man pages.
common="$stage/common"
mkdir -p "$common/doc" "$common/systemd" "$common/completion" "$common/man"
cp -R docs examples "$common/doc/"
find "$common/doc" \( -name '*_test.go' -o -name examples.go \) -delete
for file in README.md CHANGELOG.md SECURITY.md; do
	[ ! -e "$file" ] || cp "$file" "$common/doc/"
done
for unit in examples/systemd/*.s*; do
	sed 's|/usr/local/bin/|/usr/bin/|' "$unit" >"$common/systemd/$(basename "$unit")"
done
"$stage/$host/bin/$name" completion bash >"$common/completion/$name.bash"
"$stage/$host/bin/$name" completion zsh >"$common/completion/_$name"
"$stage/$host/bin/$name" completion fish >"$common/completion/$name.fish"
"$stage/$host/bin/$name" man "$common/man"
gzip --no-name --best "$common"/man/*

for arch in $archs; do
	RELEASE_STAGE="$stage/$arch"
	for program in $programs; do
		folder="${program}_${version}_linux_$arch"
		mkdir -p "$stage/$folder"
		cp "$RELEASE_STAGE/bin/$program" "$stage/$folder/"
		tool cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$version" \
			-output "$dist/$folder.cdx.json" "$stage/$folder/$program"
		if [ "$program" = "$name" ]; then
			cp "$RELEASE_STAGE/bin/azf-handler" "$stage/$folder/"
			cp -R "$common/doc/." "$common/systemd" "$common/completion" "$common/man" "$stage/$folder/"
		fi
		archive "$folder"
	done

	cp -R "$common/." "$RELEASE_STAGE/"
	chmod -R u=rwX,go=rX "$RELEASE_STAGE"
	find "$RELEASE_STAGE" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
	# In package versions, a hyphen begins the packager's revision, and a tilde sorts before the release.
	RELEASE_VERSION=$(echo "$version" | tr - '~')
	RELEASE_ARCH=$arch
	export RELEASE_STAGE RELEASE_VERSION RELEASE_ARCH
	for format in deb rpm; do
		tool nfpm package --config packaging/nfpm.yaml --packager "$format" --target "$dist/"
	done
done
(cd "$dist" && sha256sum -- * >SHA256SUMS)
ls -l "$dist"
