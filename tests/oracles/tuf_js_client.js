// Judges a published repository with tuf-js.
//
// usage: node tuf_js_client.js REPOSITORY MEMORY TARGET...
//        node tuf_js_client.js --batch CASES.json
//
// MEMORY keeps what the client last trusted; when it is empty, the oldest N.root.json of metadata/ is trusted.
// Prints one JSON object and exits 0 when all is accepted; exits 3 with the complaint when not. A batch is a list of
// [REPOSITORY, MEMORY, [TARGET...]]; then a list comes out, of null or the complaint for each, and the exit code is 0.
'use strict';

const fs = require('fs');
const path = require('path');
const { Updater, BaseFetcher } = require('tuf-js');

// The error that the client takes for "there is no newer root".
const { DownloadHTTPError } = require(path.join(path.dirname(require.resolve('tuf-js')), 'error.js'));

// Reads file: addresses; a missing file is a 404, as on a web server.
class Folder extends BaseFetcher {
  async fetch(address) {
    const file = decodeURIComponent(new URL(address).pathname);
    let bytes;
    try {
      bytes = fs.readFileSync(file);
    } catch (error) {
      throw new DownloadHTTPError(`${file} is not there`, 404);
    }
    return new ReadableStream({
      start(controller) {
        if (bytes.length > 0) controller.enqueue(bytes);
        controller.close();
      },
    });
  }
}

async function update(repository, memory, targets) {
  const metadataDir = path.join(memory, 'metadata');
  const targetDir = path.join(memory, 'targets');
  fs.mkdirSync(metadataDir, { recursive: true });
  fs.mkdirSync(targetDir, { recursive: true });
  const root = path.join(metadataDir, 'root.json');
  if (!fs.existsSync(root)) {
    const names = fs.readdirSync(path.join(repository, 'metadata')).filter((name) => name.endsWith('.root.json'));
    const oldest = Math.min(...names.map((name) => parseInt(name, 10)));
    fs.copyFileSync(path.join(repository, 'metadata', `${oldest}.root.json`), root);
  }
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: `file://${repository}/metadata`,
    targetDir,
    targetBaseUrl: `file://${repository}/targets`,
    fetcher: new Folder(),
  });
  await updater.refresh();
  for (const target of targets) {
    const info = await updater.getTargetInfo(target);
    if (!info) throw new Error(`${target} is in no role`);
    await updater.downloadTarget(info, path.join(targetDir, encodeURIComponent(target)));
  }
  return { root: JSON.parse(fs.readFileSync(root, 'utf8')).signed.version };
}

// Null, or what the client has to complain of.
async function complaint([repository, memory, targets]) {
  try {
    await update(path.resolve(repository), memory, targets);
    return null;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

async function batch(file) {
  const complaints = [];
  for (const one of JSON.parse(fs.readFileSync(file, 'utf8'))) complaints.push(await complaint(one));
  return complaints;
}

const [repository, memory, ...targets] = process.argv.slice(2);
const found = repository === '--batch' ? batch(memory) : update(path.resolve(repository), memory, targets);
found.then(
  (value) => console.log(JSON.stringify(value)),
  (error) => {
    console.error(`${error.name}: ${error.message}`);
    process.exitCode = 3;
  },
);
