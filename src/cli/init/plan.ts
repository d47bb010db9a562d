/**
 * The files of a new, secure configuration, as texts: what `causeway init` writes. Decides nothing on
 * its own and touches no file.
 */
import { Document } from 'yaml';

export interface InitChoices {
  readonly user: string;
  /** As the password file holds it. */
  readonly passwordHash: string;
  /** Relative to the folder, or absolute. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Every address of the machine: `0.0.0.0` or `[::]`. */
  readonly anyHost: string;
  readonly port: number;
  readonly localPort: number;
  readonly adminPort: number;
}

export const CONFIG_FILE = 'causeway.yaml';
export const TOKENS_FILE = 'api-tokens.json';
export const AUTHORITY_FILE = 'certs/ca.pem';
export const AUTHORITY_KEY_FILE = 'certs/ca.key';
export const CERTIFICATE_FILE = 'certs/server.pem';
export const KEY_FILE = 'certs/server.key';
export const DATA_FOLDER = 'data';
const PASSWORDS_FILE = 'passwords';
const RULES_FILE = 'acl.yaml';

/** Name and content of each file that is a text of ours. */
export function planFiles(choices: InitChoices): ReadonlyMap<string, string> {
  return new Map([
    [CONFIG_FILE, configText(choices)],
    [PASSWORDS_FILE, `${choices.user}:${choices.passwordHash}\n`],
    [RULES_FILE, rulesText(choices.user)],
  ]);
}

function configText(choices: InitChoices): string {
  const { certFile, keyFile, anyHost, port, localPort, adminPort } = choices;
  return `# Made by causeway init. All options: causeway config, or docs/reference/options.md.
# After a change: causeway check, then causeway ctl config reload (or SIGHUP).

listeners:
  # Other machines: TLS only.
  - mqtts://${anyHost}:${port}
  # This machine; the same users and rules hold.
  - mqtt://127.0.0.1:${localPort}

tls:
  certFile: ${scalar(certFile)}
  keyFile: ${scalar(keyFile)}

data: ${DATA_FOLDER}

authentication:
  chain: [password]
  password:
    # causeway passwd ${PASSWORDS_FILE} USER adds one.
    file: ${PASSWORDS_FILE}

authorization:
  # Who may publish and subscribe to what; what no rule allows is denied.
  rulesFile: ${RULES_FILE}

admin:
  # Metrics, health and the API that causeway ctl speaks to.
  url: http://127.0.0.1:${adminPort}
  tokensFile: ${TOKENS_FILE}
`;
}

function rulesText(user: string): string {
  return `# Rules of who may do what; the first that fits decides, and what fits none is denied.
# causeway acl test USER CLIENTID publish TOPIC says which rule decides.

rules:
  - allow: [publish, subscribe]
    users: [${scalar(user)}]
    topics: ['#']
`;
}

/** A text as YAML, quoted when it has to be. */
function scalar(text: string): string {
  return new Document(text).toString({ lineWidth: 0 }).trimEnd();
}
