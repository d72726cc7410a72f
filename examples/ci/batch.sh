#!/bin/sh
# Runs a batch container and hands its exit code on: create, start, wait, logs, rm.
#
#	batch.sh IMAGE [COMMAND [ARGUMENT...]]
#
# DOCKER_HOST names the daemon's socket. BATCH_ENV lists the names of variables that the container gets from this
# environment, so that no secret is in a command line. BATCH_NAME names the container.
#
# The exit status is that of the command, or 125 if it could not be run, 130 after INT and 143 after TERM. The container
# is removed in every case.
set -eu

if [ $# -eq 0 ]; then
	echo "usage: batch.sh IMAGE [COMMAND [ARGUMENT...]]" >&2
	exit 125
fi
name=${BATCH_NAME:-batch-$(date +%s)-$$}
result=$(mktemp)
child=

cleanup() {
	status=$?
	trap '' INT TERM # the removal ends first
	trap - EXIT
	[ -z "$child" ] || kill "$child" 2>/dev/null || true
	if ! docker rm --force "$name" >"$result" 2>&1 && ! grep -q 'No such container' "$result"; then
		cat "$result" >&2
		echo "batch.sh: container $name is left" >&2
	fi
	rm -f "$result"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A shell acts on a signal while it waits for a background process, but not while a foreground process runs.
run() {
	"$@" &
	child=$!
	status=0
	wait "$child" || status=$?
	child=
	return "$status"
}

image=$1
shift
# From here on, $@ is the whole command line of docker create.
set -- "$image" "$@"
for variable in ${BATCH_ENV:-}; do
	set -- --env "$variable" "$@"
done
run docker create --name "$name" "$@" >/dev/null || exit 125
run docker start "$name" >/dev/null || exit 125
run docker wait "$name" >"$result" || exit 125
code=$(cat "$result")
run docker logs "$name" || echo "batch.sh: the logs of $name could not be read" >&2
exit "$code"
