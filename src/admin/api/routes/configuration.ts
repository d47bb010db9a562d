/** /config and /certificates: options in force, and reading them again. */
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok, pageQuery } from '../route.ts';
import { integer, list, object, page, string } from '../schema.ts';
import { IterableSource } from '../walks.ts';

const REFUSED = 'What was read has faults; everything stays as it was.';

export const configurationRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/config',
    role: 'admin',
    id: 'listConfig',
    summary: 'Options in force and where they come from, secrets masked',
    query: pageQuery,
    answers: {
      200: {
        description: 'Options.',
        schema: page(
          object('An option.', {
            path: string('`limits.connectionsMax`, `listeners.0.url`.'),
            value: {
              description: 'As in the configuration; secrets are masked.',
              anyOf: [
                { type: ['string', 'number', 'boolean', 'null'] },
                { type: 'array', items: { type: ['string', 'number', 'boolean'] } },
              ],
            },
            origin: string('A file with its line, a variable, a flag, or `default`.'),
          }),
        ),
      },
    },
    changes: false,
    handle: async (call, { config, walks }) =>
      ok(
        await walks.page(
          call,
          () => new IterableSource(config.shown()),
          (option) => option,
        ),
      ),
  },
  {
    method: 'POST',
    path: '/config/reload',
    role: 'admin',
    id: 'reloadConfig',
    summary: 'Read configuration, users, rules and certificates again',
    answers: {
      200: {
        description: 'What has changed, and how much was read.',
        schema: object(
          'Options and numbers.',
          {
            applied: list('In force now.', string('Path of an option.')),
            needsRestart: list('Changed, and in force after a restart.', string('Path of one.')),
            loaded: object('In force now; 0 also where none are configured.', {
              passwordUsers: integer('Users of the password file.'),
              scramUsers: integer('Users with a SCRAM hash.'),
              pskIdentities: integer('Identities of pre-shared keys.'),
              tokenKeys: integer('Keys that tokens are verified with.'),
              rules: integer('Rules of the rule file.'),
              quotas: integer('Quotas.'),
            }),
          },
          ['loaded'],
        ),
      },
      422: { description: REFUSED },
    },
    changes: true,
    handle: async (_call, { config }) => {
      const { applied, needsRestart, loaded, problems } = await config.reload();
      if (problems.length === 0) return ok({ applied, needsRestart, loaded });
      throw new ApiError(422, 'the reload was refused, everything stays as it was', problems);
    },
  },
  {
    method: 'POST',
    path: '/certificates/reload',
    role: 'admin',
    id: 'reloadCertificates',
    summary: 'Read certificates again',
    description: 'Connections go on; new ones see the new certificates.',
    answers: {
      200: {
        description: 'What was read.',
        schema: object('Listeners.', {
          reloaded: list('Have what the files hold now.', string('Name of a listener.')),
        }),
      },
      422: { description: 'Some could not be read; those keep what they had.' },
    },
    changes: true,
    handle: async (_call, { config }) => {
      const { reloaded, problems } = await config.reloadCertificates();
      if (problems.length === 0) return ok({ reloaded });
      throw new ApiError(
        422,
        'some certificates could not be read and stay as they were',
        problems,
      );
    },
  },
];
