// The files made from the option table are what the table says today.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { referenceFiles } from '../../scripts/reference.ts';
import { editorSchema } from '../../src/config/json-schema.ts';
import { loadConfig } from '../../src/config/load.ts';
import { optionTable } from '../../src/config/option-table.ts';
import { limitTable } from '../../src/core/limits.ts';

const root = join(import.meta.dirname, '..', '..');

for (const { path, render } of referenceFiles) {
  t.test(path, async (t) => {
    const found = readFileSync(join(root, path), 'utf8');
    t.equal(found, await render(), 'is up to date; otherwise run: node scripts/reference.ts');
  });
}

t.test('every option has help, and every limit its row', async (t) => {
  for (const option of optionTable()) {
    t.match(option.help, /^\S.*\.$/, `${option.path} has a sentence`);
  }
  const rows = new Map(optionTable().map((option) => [option.path, option]));
  for (const [name, spec] of Object.entries(limitTable)) {
    t.match(
      rows.get(`limits.${name}`),
      {
        default: spec.default,
        minimum: spec.min,
        maximum: spec.max,
        unit: spec.unit,
        told: spec.told,
        reloadable: spec.reloadable,
      },
      name,
    );
  }
});

t.test('the manual names every option and changes none', async (t) => {
  const file = join(root, 'config', 'everything.yaml');
  const text = readFileSync(file, 'utf8');
  for (const { path } of optionTable()) {
    const key = path.split('.').at(-1);
    if (path === 'tls.caFile' || path === 'tls.crlFile') continue;
    t.match(text, new RegExp(`^[ #-]*${key}:`, 'm'), path);
  }
  const { config } = loadConfig({ file, environment: {}, flags: [] });
  const defaults = loadConfig({ file: null, environment: {}, flags: [] }).config;
  t.strictSame({ ...config, data: '' }, { ...defaults, data: '' });
});

t.test('what is commented out in the manual is right too', async (t) => {
  const file = join(root, 'config', 'everything.yaml');
  // The listeners up to the next empty line, and the tls section; all other comments are prose.
  const [listeners = ''] = /^listeners:\n(.+\n)+/m.exec(readFileSync(file, 'utf8')) ?? [];
  const [tls = ''] = /^# tls:\n(#.+\n)+/m.exec(readFileSync(file, 'utf8')) ?? [];
  const [steering = ''] = /^# steering:\n(#.+\n)+/m.exec(readFileSync(file, 'utf8')) ?? [];
  const sections = `${tls}${steering}\n# cluster: { redis: { url: 'redis://127.0.0.1' } }\n`;
  const uncommented = listeners.replaceAll(/^ {2}# /gm, '  ') + sections.replaceAll(/^# /gm, '');
  const { config } = loadConfig({
    file,
    text: uncommented,
    environment: { CAUSEWAY_ALLOW_ANONYMOUS_BEYOND_LOOPBACK: 'true' },
    flags: [],
  });
  t.equal(config.listeners.length, 5);
  t.equal(config.listeners[2]?.tls?.clientCertificate, 'required');
  t.equal(config.listeners[4]?.unixMode, '0660');
  t.ok(config.tls);
  t.equal(config.steering?.nearest.length, 2);
});

t.test('the schema for editors', async (t) => {
  const schema = editorSchema();
  t.notMatch(JSON.stringify(schema), /"x-/);
  t.strictSame(Array.isArray(schema.properties?.listeners?.items?.anyOf), true);
  t.strictSame(schema.properties?.limits?.properties?.packetBytesMax, {
    anyOf: [
      { type: 'integer', minimum: 1024, maximum: 268_435_460 },
      { type: 'string', pattern: '^\\d+(\\.\\d+)? ?(B|KiB|MiB|GiB|TiB)$' },
    ],
    default: 1_048_576,
    description: limitTable.packetBytesMax.help,
  });
});
