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
  assert.strictEqual((await container.wait()).StatusCode, 0);
  const logs = await container.logs({ stdout: true });
  assert.strictEqual(logs.subarray(8).toString(), "Hello, dockerode!\n");
  const list = await docker.listContainers({ all: true, filters: { label: ["sdk=node"] } });
  assert.strictEqual(list.length, 1);
  assert.deepStrictEqual(list[0].Names, ["/node"]);
  assert.strictEqual(list[0].Ports.length + list[0].Mounts.length, 0);
  assert.deepStrictEqual(await docker.listContainers(), []);
  assert.ok((await docker.listImages()).some((i) => i.RepoTags.includes(image)));
  assert.strictEqual((await container.inspect()).State.Status, "exited");

  await refused(container.exec({ Cmd: ["ls"] }), 501, /does not support exec/);
  await refused(container.stats({ stream: false }), 501, /does not support stats/);
  await refused(docker.createNetwork({ Name: "n" }), 501, /does not support networks/);
  await container.stop().catch((err) => assert.strictEqual(err.statusCode, 304));
  await container.remove();
  await refused(container.inspect(), 404, /No such container/);

  // Events of an older version have the fields that older programs read.
  const older = new Docker({ socketPath, version: "v1.44" });
  await new Promise((done) => setTimeout(done, 1000)); // until is in whole seconds
  const now = Math.floor(Date.now() / 1000);
  const stream = await older.getEvents({ since: now - 600, until: now, filters: { container: [container.id] } });
  let events = "";
  for await (const chunk of stream) events += chunk;
  const kinds = events.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepStrictEqual(kinds.map((e) => e.status), ["create", "start", "die", "destroy"]);
  assert.ok(kinds.every((e) => e.id === container.id && e.from === image));
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
