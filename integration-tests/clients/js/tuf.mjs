// Drives the npm package `tuf-js` by the protocol that `integration-tests/tests/stack/tuf.rs` describes.
import { join } from "node:path";

import { Updater } from "tuf-js";

const [metadataBaseUrl, targetBaseUrl, metadataDir, targetDir, ...wanted] = process.argv.slice(2);
const updater = new Updater({ metadataBaseUrl, targetBaseUrl, metadataDir, targetDir });
await updater.refresh();
for (const path of wanted) {
  const target = await updater.getTargetInfo(path);
  if (target === undefined) throw new Error(`no target ${path}`);
  // Left alone, it takes the path for a file name.
  console.log(await updater.downloadTarget(target, join(targetDir, encodeURIComponent(path))));
}
