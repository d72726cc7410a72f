"""Takes containers their way with docker-py: life.py IMAGE"""
import sys
import time

import docker

image = sys.argv[1]
client = docker.from_env()
assert client.ping()
assert client.info()["Driver"] == "azf"

try:
    client.images.get(image)
    raise AssertionError("the image is known before its pull")
except docker.errors.ImageNotFound:
    pass
# run pulls by itself.
job = client.containers.run(image, ["hello", "docker-py"], name="py", labels={"sdk": "python"}, detach=True)
assert job.status == "created", job.status
assert client.images.get(image).tags == [image]
assert image in [tag for i in client.images.list() for tag in i.tags]

assert job.wait()["StatusCode"] == 0
job.reload()
assert job.status == "exited", job.status
assert job.labels["sdk"] == "python" and job.ports == {} and job.image.tags == [image], job.attrs
assert b"Hello, docker-py!\n" in job.logs()
assert job.logs(stderr=False) == b"Hello, docker-py!\n"
assert job.logs(stderr=False, tail=1) == b"Hello, docker-py!\n"
assert b"".join(job.logs(stream=True, follow=True, stderr=False)) == b"Hello, docker-py!\n"
found = client.containers.list(all=True, filters={"label": "sdk=python"})
assert [c.name for c in found] == ["py"], found
assert job not in client.containers.list()

job.restart()
assert job.wait()["StatusCode"] == 0
job.rename("python")
assert client.containers.get("python").id == job.id
job.stop()
job.remove()
try:
    client.containers.get("python")
    raise AssertionError("the container is there after its removal")
except docker.errors.NotFound:
    pass

# The stream ends by itself, since until is given.
deadline = time.time() + 60
actions = []
while "destroy" not in actions and time.time() < deadline:
    time.sleep(0.2)
    events = client.events(since=int(time.time()) - 600, until=int(time.time()), decode=True,
                           filters={"container": job.id})
    actions = [e["Action"] for e in events]
assert actions[0] == "create" and actions[-1] == "destroy" and actions.count("start") == 2, actions

try:
    client.networks.create("n")
    raise AssertionError("a network is created")
except docker.errors.APIError as err:
    assert err.status_code == 501 and "does not support networks" in err.explanation, err
