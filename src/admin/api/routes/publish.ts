/** /publish: a message from the operator, with every right but to `$` topics. */
import { ApiError } from '../api-error.ts';
import { type ApiRoute, noBody, nothing } from '../route.ts';
import { boolean, integer, object, oneOf, string } from '../schema.ts';
import { checkMember, noMember } from './member-check.ts';
import { checkOpen, checkTopic } from './topic-check.ts';

interface Publish {
  readonly topic: string;
  readonly payload: string;
  readonly encoding?: 'utf8' | 'base64';
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly messageExpiryS?: number;
}

/** A payload as JSON takes more than its bytes. */
const BODY_BYTES_MAX = 4 * 1024 * 1024;

export const publishRoutes: readonly ApiRoute[] = [
  {
    method: 'POST',
    path: '/publish',
    role: 'operator',
    id: 'publish',
    summary: 'Publish a message',
    body: object(
      'The message.',
      {
        topic: string('Topic name; none that starts with `$`.', { minLength: 1 }),
        payload: string('As `encoding` says.'),
        encoding: oneOf('Default `utf8`.', ['utf8', 'base64']),
        qos: oneOf('Default 0.', [0, 1, 2]),
        retain: boolean('Default false. With an empty payload: deletes what is retained.'),
        messageExpiryS: integer('Default: never.', { minimum: 1, maximum: 4_294_967_295 }),
      },
      ['encoding', 'qos', 'retain', 'messageExpiryS'],
    ),
    bodyBytesMax: BODY_BYTES_MAX,
    answers: { 204: noBody('It is published.'), 503: noMember },
    changes: true,
    target: (call) => (call.body as Publish).topic,
    handle: (call, { core, cluster }) => {
      checkMember(cluster);
      const { topic, payload, encoding = 'utf8', ...options } = call.body as Publish;
      checkTopic('topic', topic);
      checkOpen('topic', topic);
      try {
        core.publish(topic, bytesOf(payload, encoding), options);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new ApiError(400, error.message);
      }
      return nothing;
    },
  },
];

function bytesOf(payload: string, encoding: 'utf8' | 'base64'): Buffer {
  if (encoding === 'utf8') return Buffer.from(payload, 'utf8');
  const bytes = Buffer.from(payload, 'base64');
  // Node takes what looks like base64 and leaves out the rest.
  if (bytes.toString('base64') === payload) return bytes;
  throw new ApiError(400, 'payload is not base64', [
    { field: 'payload', message: 'is not base64 as RFC 4648 has it, padding included' },
  ]);
}
