// A rule file of 1,000 rules as a site of some size has them: users with topics of their own,
// placeholders, denials, topics for all. The rules that let the load through come last.

const RULES = 1000;

interface Rule {
  readonly action: string;
  readonly topic: string;
  readonly user?: string;
}

/** Rule number `index`: of ten, four name a user, two a placeholder, two deny. */
function siteRule(index: number): Rule {
  const line = `line/${index}`;
  const user = String(index).padStart(4, '0');
  switch (index % 10) {
    case 0:
    case 1:
    case 2:
      return { action: 'allow: [publish, subscribe]', topic: `own/${line}/#`, user };
    case 3:
      return { action: 'deny: subscribe', topic: `vault/${line}/#`, user };
    case 4:
      return { action: 'allow: [publish, subscribe]', topic: `devices/%c/${line}/#` };
    case 5:
      return { action: 'allow: subscribe', topic: `people/%u/${line}/#` };
    case 6:
      return { action: 'deny: publish', topic: `site/+/${line}/locked` };
    default:
      return { action: 'allow: [publish, subscribe]', topic: `site/+/${line}/#` };
  }
}

function write({ action, topic, user }: Rule): string {
  const users = user === undefined ? '' : `, users: ['${user}']`;
  return `  - { ${action}, topics: ['${topic}']${users} }`;
}

/**
 * With `filtersDelivery` one rule denies receiving a part of what every client may subscribe to, so
 * that each delivery is asked about; it holds back nothing of the load.
 */
export function siteRules(filtersDelivery: boolean): string {
  const last: Rule[] = [
    ...(filtersDelivery ? [{ action: 'deny: receive', topic: 'load/+/secret' }] : []),
    { action: 'deny: publish', topic: 'load/+/command', user: 'nobody' },
    { action: 'allow: [publish, subscribe]', topic: 'load/%u/#' },
  ];
  const rules = Array.from({ length: RULES - last.length }, (_, index) => siteRule(index));
  return `${['rules:', ...[...rules, ...last].map(write)].join('\n')}\n`;
}
