// Takes a container its way with dockerode: node journey.js SOCKET IMAGE
const assert = require("node:assert");
const Docker = require("dockerode");

async function refused(promise, status, message) {
  await assert.rejects(promise, (err) => {
    assert.strictEqual(err.statusCode, status);
    assert.match(err.json.message, message);
    return true;
  });
}

async function main([socketPath, image]) {
  const docker = new Docker({ socketPath });
  assert.strictEqual((await docker.ping()).toString(), "OK");
  await refused(docker.createContainer({ Image: image }), 404, /No such image/);

  const progress = await docker.pull(image);
  const lines = await new Promise((done, fail) => docker.modem.followProgress(progress, (err, out) => (err ? fail(err) : done(out))));
  assert.ok(lines.some((l) => l.status.startsWith("Digest: sha256:")));

  const container = await docker.createContainer({ Image: image, name: "node", Cmd: ["hello", "dockerode"], Labels: { sdk: "node" } });
  await container.start();
  assert.deepStrictEqual(await container.wait(), { StatusCode: 0 });
  const logs = await container.logs({ stdout: true });
  assert.strictEqual(logs.subarray(8).toString(), "Hello, dockerode!\n");
  const list = await docker.listContainers({ all: true, filters: { label: ["sdk=node"] } });
  assert.deepStrictEqual(list.map((c) => c.Names), [["/node"]]);
  assert.strictEqual((await container.inspect()).State.Status, "exited");

  await refused(container.exec({ Cmd: ["ls"] }), 501, /does not support exec/);
  await refused(container.stats({ stream: false }), 501, /does not support stats/);
  await refused(docker.createNetwork({ Name: "n" }), 501, /does not support networks/);
  await container.remove();
  await refused(container.inspect(), 404, /No such container/);
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
