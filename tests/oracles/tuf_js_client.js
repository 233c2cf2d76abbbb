// Judges a published repository with tuf-js.
//
// usage: node tuf_js_client.js REPOSITORY MEMORY TARGET...
//
// MEMORY keeps what the client last trusted; when it is empty, metadata/1.root.json is trusted.
// Prints one JSON object and exits 0 when all is accepted; exits 3 with the complaint when not.
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
  if (!fs.existsSync(root)) fs.copyFileSync(path.join(repository, 'metadata', '1.root.json'), root);
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

const [repository, memory, ...targets] = process.argv.slice(2);
update(path.resolve(repository), memory, targets).then(
  (found) => console.log(JSON.stringify(found)),
  (error) => {
    console.error(`${error.name}: ${error.message}`);
    process.exitCode = 3;
  },
);
