// biome-ignore-all lint/style/noCommonJs: stands in for node-gyp-build, which is required.
// Takes the place of node-gyp-build inside the executable: the native part of classic-level is an
// asset of the file, and Linux loads libraries from files only, so it is written out for a moment.
// Loaded at first use, so that `causeway version` writes nothing. scripts/build.ts puts it in.
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { getRawAsset } = require('node:sea');

/** The store may name its folder here: of all places the one that is surely writable. */
const folderKey = Symbol.for('causeway.addonFolder');

function load() {
  const bytes = new Uint8Array(getRawAsset('classic-level.node'));
  const problems = [];
  // A root file system may be read-only and a temporary folder may refuse to hold programs.
  for (const base of [globalThis[folderKey], tmpdir(), '/dev/shm', process.cwd()]) {
    if (typeof base !== 'string') continue;
    let folder;
    try {
      // A folder of our own that nobody else can enter: what is loaded is what was written.
      folder = mkdtempSync(join(base, '.causeway-'));
      const file = join(folder, 'classic-level.node');
      writeFileSync(file, bytes, { mode: 0o700, flag: 'wx' });
      const addon = { exports: {} };
      process.dlopen(addon, file);
      return addon.exports;
    } catch (error) {
      problems.push(`${base}: ${error.message}`);
    } finally {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    }
  }
  throw new Error(`cannot load the embedded store's native part; tried\n${problems.join('\n')}`);
}

module.exports = function nodeGypBuild() {
  let isLoaded = false;
  const first = new Proxy(
    {},
    {
      get(_, name) {
        if (!isLoaded) {
          Object.assign(addon, load());
          isLoaded = true;
        }
        return Object.hasOwn(addon, name) ? addon[name] : undefined;
      },
    },
  );
  // After the first use all functions are its own, and the proxy behind them is never asked again.
  const addon = Object.create(first);
  return addon;
};
