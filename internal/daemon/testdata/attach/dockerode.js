// Runs containers in the foreground with dockerode: node dockerode.js IMAGE
const assert = require("node:assert");
const { PassThrough } = require("node:stream");
const Docker = require("dockerode");

// collect returns a stream, and a promise of all that is written to it.
function collect() {
  const stream = new PassThrough();
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  return { stream, text: new Promise((done) => stream.on("end", () => done(Buffer.concat(chunks).toString()))) };
}

async function main([image]) {
  const docker = new Docker(); // finds DOCKER_HOST
  const progress = await docker.pull(image);
  await new Promise((done, fail) => docker.modem.followProgress(progress, (err) => (err ? fail(err) : done())));

  const out = collect();
  const [data, container] = await docker.run(image, ["hello", "dockerode"], out.stream);
  assert.strictEqual(data.StatusCode, 0);
  assert.match(await out.text, /Hello, dockerode!/);
  await container.remove();

  const [first, second] = [collect(), collect()];
  const script = ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"];
  const [failed, other] = await docker.run(image, script, [first.stream, second.stream], { Tty: false });
  assert.strictEqual(failed.StatusCode, 3);
  assert.strictEqual(await first.text, "out\n");
  assert.match(await second.text, /^err$/m);
  await other.remove();
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
