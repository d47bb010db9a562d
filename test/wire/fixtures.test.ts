/** Every packet fixture, decoded and encoded. */
import { Buffer } from 'node:buffer';
import t from 'tap';
import { bodyStart, packetEnd } from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { encodePacket, onlySender } from './decode-packet.ts';
import { fixtures } from './fixtures/all.ts';
import type { Fixture } from './fixtures/fixture.ts';
import { observe } from './observe.ts';

function title(fixture: Fixture, version: number): string {
  const type = fixture.bytes[0]! >> 4;
  return `v${version} ${fixture.sender} ${type}: ${fixture.name}`;
}

t.test('framing finds the end of every fixture', async (t) => {
  for (const { bytes, name } of fixtures) {
    t.equal(packetEnd(bytes, 0, bytes.length, 1000), bytes.length, name);
    t.ok(bodyStart(bytes, 0) <= bytes.length, name);
  }
});

t.test('valid packets are decoded', async (t) => {
  for (const fixture of fixtures) {
    if (!('decoded' in fixture)) continue;
    for (const version of fixture.versions) {
      const { decoded, error } = observe(version, fixture.sender, fixture.bytes);
      t.equal(error?.message, undefined, title(fixture, version));
      t.strictSame(decoded, fixture.decoded, title(fixture, version));
    }
  }
});

t.test('packets are encoded to the bytes they came from', async (t) => {
  for (const fixture of fixtures) {
    if (!('decoded' in fixture)) continue;
    for (const version of fixture.versions) {
      const encoded = encodePacket(version, fixture.decoded);
      if (fixture.reencodes) {
        t.equal(encoded.toString('hex'), fixture.bytes.toString('hex'), title(fixture, version));
      } else {
        t.not(encoded.toString('hex'), fixture.bytes.toString('hex'), title(fixture, version));
        const { decoded } = observe(version, fixture.sender, encoded);
        t.strictSame(decoded, fixture.decoded, `${title(fixture, version)}, our form`);
      }
    }
  }
});

t.test('invalid packets are refused with the reason the specification gives', async (t) => {
  for (const fixture of fixtures) {
    if (!('error' in fixture)) continue;
    for (const version of fixture.versions) {
      const { error } = observe(version, fixture.sender, fixture.bytes);
      t.equal(error?.reasonCode, fixture.error, `${title(fixture, version)} (${error?.message})`);
    }
  }
});

t.test(
  'every packet type has valid and invalid fixtures in every version it exists in',
  async (t) => {
    for (const [name, type] of Object.entries(PacketType)) {
      for (const version of [3, 4, 5] as const) {
        const of = fixtures.filter(
          (f) => f.bytes[0]! >> 4 === type && f.versions.includes(version),
        );
        const hasValid = of.some((fixture) => 'decoded' in fixture);
        t.equal(hasValid, name !== 'AUTH' || version === 5, `${name} v${version} valid`);
        t.ok(
          of.some((fixture) => 'error' in fixture),
          `${name} v${version} invalid`,
        );
        const sender = onlySender(type);
        for (const fixture of of) {
          if ('decoded' in fixture && sender !== null)
            t.equal(fixture.sender, sender, fixture.name);
        }
      }
    }
  },
);

t.test(
  'a packet in its shortest form cut short anywhere is refused or has another meaning',
  async (t) => {
    for (const fixture of fixtures) {
      if (!('decoded' in fixture) || !fixture.reencodes || fixture.bytes.length > 127) continue;
      const version = fixture.versions[0]!;
      const body = fixture.bytes.subarray(bodyStart(fixture.bytes, 0));
      for (let length = 0; length < body.length; length++) {
        const header = Buffer.from([fixture.bytes[0]!, length]);
        const cut = Buffer.concat([header, body.subarray(0, length)]);
        const { decoded, error } = observe(version, fixture.sender, cut);
        if (error === null)
          t.strictNotSame(decoded, fixture.decoded, `${fixture.name} at ${length}`);
        else t.ok([0x81, 0x82, 0x90].includes(error.reasonCode), `${fixture.name} at ${length}`);
      }
    }
  },
);
