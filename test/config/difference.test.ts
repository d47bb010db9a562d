// What a reload can change in a running node and what it cannot.
import t from 'tap';
import type { Config } from '../../src/config/config.ts';
import { compareConfigs } from '../../src/config/difference.ts';
import { loadConfig } from '../../src/config/load.ts';

const load = (text: string): Config =>
  loadConfig({ file: 'edge.yaml', text, environment: {}, flags: [] }).config;

t.test('differences', async (t) => {
  const cases: { before: string; after: string; applied: string[]; needsRestart: string[] }[] = [
    { before: '', after: 'log: {}\n', applied: [], needsRestart: [] },
    { before: '', after: 'log: {level: debug}', applied: ['log.level'], needsRestart: [] },
    {
      before: 'data: a',
      after: 'data: b\nstore: memory\nlimits: {lingerMs: 5}\nshutdownGraceMs: 1s',
      applied: ['limits.lingerMs', 'shutdownGraceMs'],
      needsRestart: ['data', 'store'],
    },
    {
      before: 'listeners: [{url: "mqtts://127.0.0.1:1", tls: {certFile: a, keyFile: b}}]',
      after: 'listeners: [{url: "mqtts://127.0.0.1:1", tls: {certFile: c, keyFile: d}}]',
      applied: [
        'listeners[mqtts://127.0.0.1:1].tls.certFile',
        'listeners[mqtts://127.0.0.1:1].tls.keyFile',
      ],
      needsRestart: [],
    },
    {
      before: 'listeners: ["mqtt://127.0.0.1:1", "mqtt://[::1]:2"]',
      after: 'listeners: [{url: "mqtt://[::1]:2", limits: {connectionsMax: 5}}]',
      applied: ['listeners[mqtt://[::1]:2].limits.connectionsMax'],
      needsRestart: ['listeners[mqtt://127.0.0.1:1]'],
    },
    {
      before: 'listeners: ["mqtt://127.0.0.1:0", "mqtt://127.0.0.1:0"]',
      after: 'listeners: ["mqtt://127.0.0.1:0"]',
      applied: [],
      needsRestart: ['listeners[mqtt://127.0.0.1:0#2]'],
    },
    {
      before: 'listeners: [{url: "ws://127.0.0.1:1", websocket: {allowedOrigins: "*"}}]',
      after:
        'listeners: [{url: "ws://127.0.0.1:1", websocket: {allowedOrigins: ["https://a.example"]}}]',
      applied: ['listeners[ws://127.0.0.1:1].websocket.allowedOrigins'],
      needsRestart: [],
    },
    {
      before: 'listeners: [{url: "ws://127.0.0.1:1", name: a}]',
      after: 'listeners: [{url: "ws://127.0.0.1:1", name: b}]',
      applied: [],
      needsRestart: ['listeners[ws://127.0.0.1:1].name'],
    },
    {
      before: 'listeners: ["ws://127.0.0.1:1"]',
      after: 'listeners: [{url: "ws://127.0.0.1:1", proxyProtocol: {trustedAddresses: 10.0.0.1}}]',
      applied: ['listeners[ws://127.0.0.1:1].proxyProtocol.trustedAddresses'],
      needsRestart: [],
    },
    {
      before: '',
      after: 'listeners: [{url: "ws://127.0.0.1:1", limits: {connectionsMax: 5}}]',
      applied: [],
      needsRestart: [
        'listeners[mqtt://127.0.0.1:1883]',
        'listeners[ws://127.0.0.1:8083/mqtt]',
        'listeners[ws://127.0.0.1:1]',
      ],
    },
  ];
  for (const { before, after, ...expected } of cases) {
    t.strictSame(compareConfigs(load(before), load(after)), expected, `${before} → ${after}`);
  }
});
