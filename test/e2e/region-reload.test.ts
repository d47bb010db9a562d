// A link over TLS whose region is proven by a certificate; a session that is lost; reloads (ADR 0022).
import t from 'tap';
import { Certificates } from '../listeners/certificates.ts';
import { until } from './cluster-kit.ts';
import { drain, TestRegions } from './link-kit.ts';

t.setTimeout(240_000);

t.test('certificates, a gap, and options that change', async (t) => {
  const pki = new Certificates();
  pki.authority('ca');
  pki.issue('server', 'ca', 'IP:127.0.0.1');
  pki.issue('eu.example', 'ca', 'DNS:eu.example');
  const server = { certFile: pki.path('server.pem'), keyFile: pki.path('server.key') };
  const caFile = pki.path('ca.pem');
  const regions = await TestRegions.start(t, {
    names: ['eu', 'us'],
    links: ['eu<us'],
    link: {
      'eu<us': {
        scheme: 'mqtts',
        username: null,
        passwordFile: null,
        tls: {
          caFile,
          certFile: pki.path('eu.example.pem'),
          keyFile: pki.path('eu.example.key'),
        },
      },
    },
    accept: { 'eu<us': { user: null, certificate: 'eu.example' } },
    config: {
      listeners: [
        'mqtt://127.0.0.1:0',
        {
          url: 'mqtts://127.0.0.1:0',
          tls: { ...server, caFile, clientCertificate: 'optional' },
        },
      ],
    },
  });
  const reader = await regions.client('eu');
  await reader.subscribed(['a/#', 'b/#'], { qos: 1 });
  await regions.subscribed({ 'eu<us': 2 });
  const publisher = await regions.client('us');
  const came = async (): Promise<string[]> => {
    for (const topic of ['a/1', 'b/1']) await publisher.publish(topic, topic, { qos: 1 });
    return (await drain(reader, 500)).map(({ topic }) => topic);
  };
  t.strictSame(await came(), ['a/1', 'b/1']);

  t.equal(await regions.endSession('eu<us'), 204);
  await until(
    'the gap is counted',
    async () => (await regions.ofLink('eu<us', 'gaps_total')) === 1,
    20_000,
  );
  await regions.subscribed({ 'eu<us': 2 });
  t.strictSame(await came(), ['a/1', 'b/1'], 'subscribed to again');

  const before = await regions.ofLink('eu<us', 'connects_total');
  await regions.reload('eu', (config) => {
    config.shutdownGraceMs = 9000;
  });
  t.equal(await regions.ofLink('eu<us', 'connects_total'), before, 'what is the same stays up');
  await regions.reload('eu', ({ regions: { links } }) => {
    links[0]!.allow = ['a/#'];
  });
  await until('the link is made anew', async () => (await came()).join() === 'a/1', 20_000);
  const isNow = (certificate: string): Promise<void> =>
    regions.reload('us', ({ regions: { accept } }) => {
      accept[0]!.certificate = certificate;
    });
  await isNow('sa.example');
  await regions.proxy('eu<us').cut();
  await until(
    'who is not that region any more is refused',
    async () => (await regions.broker('us').metric('causeway_link_connects_refused_total')) > 0,
    20_000,
  );
  t.strictSame(await came(), []);
  await isNow('eu.example');
  await regions.linksUp();
  t.strictSame(
    (await came()).filter((topic) => topic === 'b/1'),
    [],
  );
  await regions.reload('eu', (config) => {
    config.regions.links = [];
  });
  await until(
    'its session has ended',
    // The publisher's is left.
    async () => (await regions.broker('us').metric('causeway_sessions')) === 1,
    20_000,
  );
  t.strictSame(regions.errors(), []);
});
