"""Sends what Airflow's DockerOperator sends, with the client that it uses: airflow.py IMAGE"""
import sys
import tempfile

import docker
from docker.types import LogConfig, Mount

image = sys.argv[1]
cli = docker.APIClient(base_url=docker.utils.kwargs_from_env()["base_url"], version="auto", timeout=60)


def run(mounts, environment, command):
    """One attempt of the operator, and the lines and the end that it sees."""
    container = cli.create_container(
        image=image, command=command, name=None, environment=environment, ports=[],
        host_config=cli.create_host_config(
            auto_remove=False, mounts=mounts, network_mode=None, shm_size=None, dns=None, dns_search=None,
            cpu_shares=1024, port_bindings={}, mem_limit=None, cap_add=None, extra_hosts=None, privileged=False,
            device_requests=None, log_config=LogConfig(config={}), ipc_mode=None, ulimits=[]),
        user=None, entrypoint=None, working_dir=None, tty=False, hostname=None, labels=None)
    stream = cli.attach(container=container["Id"], stdout=True, stderr=True, stream=True)
    cli.start(container["Id"])
    lines = b"".join(stream).decode().splitlines()
    result = cli.wait(container["Id"])
    cli.remove_container(container["Id"])
    return lines, result["StatusCode"]


if not cli.images(name=image):
    for _ in cli.pull(image, stream=True, decode=True):
        pass
assert cli.images(name=image)

# The operator mounts a temporary folder, and does without if the refusal names the folder.
with tempfile.TemporaryDirectory(prefix="airflowtmp") as folder:
    try:
        run([Mount("/tmp/airflow", folder, "bind")], {"AIRFLOW_TMP_DIR": "/tmp/airflow"}, ["hello", "mount"])
        raise AssertionError("the mount is not refused")
    except docker.errors.APIError as err:
        assert folder in str(err), err
lines, code = run([], {}, ["hello", "airflow"])
assert code == 0 and "Hello, airflow!" in lines, (lines, code)
lines, code = run([], {}, ["/bin/sh", "-c", "echo one; echo two; exit 3"])
assert code == 3 and [line for line in lines if line in ("one", "two")] == ["one", "two"], (lines, code)
