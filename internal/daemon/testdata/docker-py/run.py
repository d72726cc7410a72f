"""Runs containers in the foreground with docker-py: run.py IMAGE"""
import sys

import docker

image = sys.argv[1]
client = docker.from_env()
run = client.containers.run

assert run(image, ["hello", "foreground"], remove=True) == b"Hello, foreground!\n"
assert run(image, ["/bin/sh", "-c", "sleep 1; echo late; echo other >&2"], remove=True) == b"late\n"
lines = list(run(image, ["/bin/sh", "-c", "echo one; sleep 1; echo two"], name="stream", stream=True))
assert lines == [b"one\n", b"two\n"], lines
client.containers.get("stream").remove()
try:
    run(image, ["/bin/sh", "-c", "echo bad >&2; exit 3"], remove=True)
    raise AssertionError("the command that fails does not fail run")
except docker.errors.ContainerError as err:
    assert err.exit_status == 3 and b"bad\n" in err.stderr, err
