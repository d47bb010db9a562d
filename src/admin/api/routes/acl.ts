/** /acl/test: what the rules say about somebody, and which one decides. Changes nothing. */
import { type AclAction, type AclQuestion, aclActions } from '../ports.ts';
import { type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, nullable, object, oneOf, string } from '../schema.ts';
import { checkFilter, checkTopic } from './topic-check.ts';

interface AclBody {
  readonly user?: string | null;
  readonly clientId: string;
  readonly action: AclAction;
  readonly topic: string;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly address?: string;
  readonly listener?: string;
  readonly tenant?: string;
  readonly claims?: Readonly<Record<string, string | readonly string[]>>;
  readonly certificate?: AclQuestion['certificate'];
}

const certificateFields = {
  subjectCommonName: string('CN of the subject.'),
  subjectAltNames: list('With their kinds: `DNS:a.example`.', string('One name.')),
  organization: string('O of the subject.'),
  organizationalUnit: string('OU of the subject.'),
  issuerCommonName: string('CN of the issuer.'),
  serialNumber: string('Hexadecimal.'),
  fingerprint256: string('SHA-256 of the certificate.'),
};

const optional = ['qos', 'retain', 'address', 'listener', 'tenant', 'claims', 'certificate'];

export const aclRoutes: readonly ApiRoute[] = [
  {
    method: 'POST',
    path: '/acl/test',
    role: 'operator',
    id: 'testAcl',
    summary: 'Whether somebody may do something, and which rule says so',
    description: 'The client need not exist. Nothing is changed.',
    body: object(
      'Who, and what.',
      {
        user: nullable(string('Absent or null: anonymous.')),
        clientId: string('Client identifier.'),
        action: oneOf('`receive`: delivery of a message.', aclActions),
        topic: string('Topic name; for `subscribe` a filter.', { minLength: 1 }),
        qos: oneOf('Default 0.', [0, 1, 2]),
        retain: boolean('Default false.'),
        address: string('Of the client; absent: unknown.'),
        listener: string('Name of the listener; absent: unknown.'),
        tenant: string('Absent: none.'),
        claims: {
          type: 'object',
          description: 'Of a token: text, or lists of texts.',
          additionalProperties: {
            anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
          },
        },
        certificate: object(
          'Fields of a client certificate; those absent are unknown.',
          certificateFields,
          Object.keys(certificateFields),
        ),
      },
      ['user', ...optional],
    ),
    bodyBytesMax: 512 * 1024,
    answers: {
      200: {
        description: 'The decision.',
        schema: object('What the rules say.', {
          allowed: boolean('May it?'),
          rule: nullable(string('The deciding rule as written; null: none matched.')),
          file: nullable(string('Where it stands.')),
          line: nullable(integer('Line in the file.')),
          reason: string('One sentence.'),
        }),
      },
    },
    changes: false,
    handle: async (call, { acl }) => {
      const body = call.body as AclBody;
      if (body.action === 'subscribe') checkFilter('topic', body.topic);
      else checkTopic('topic', body.topic);
      const { allowed, rule, file, line, reason } = await acl.explain({
        user: body.user ?? null,
        clientId: body.clientId,
        action: body.action,
        topic: body.topic,
        qos: body.qos ?? 0,
        retain: body.retain ?? false,
        address: body.address ?? '',
        listener: body.listener ?? '',
        tenant: body.tenant ?? '',
        claims: new Map(Object.entries(body.claims ?? {})),
        certificate: body.certificate ?? null,
      });
      return ok({ allowed, rule, file, line, reason });
    },
  },
];
