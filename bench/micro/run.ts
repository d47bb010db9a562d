// `node bench/micro/run.ts [NAME…]`: measures single functions of the data plane with mitata;
// `--list` names them. Figures are for comparing two states of the code on one machine.
import { run } from 'mitata';

/** Each declares its benches when it is imported. */
const benches: { readonly [name: string]: () => Promise<unknown> } = {
  decoder: () => import('./decoder.ts'),
  encoder: () => import('./encoder.ts'),
  trie: () => import('./trie.ts'),
  router: () => import('./router.ts'),
  outbox: () => import('./outbox.ts'),
  fanout: () => import('./fanout.ts'),
  acl: () => import('./acl.ts'),
  quota: () => import('./quota.ts'),
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => name !== '--list' && benches[name] === undefined);
if (wanted.includes('--list')) {
  for (const name of Object.keys(benches)) process.stdout.write(`${name}\n`);
  process.stdout.write('store: by itself, `node bench/micro/store.ts`\n');
  process.stdout.write('retained: by itself, `node --expose-gc bench/micro/retained.ts`\n');
} else if (unknown.length > 0) {
  process.stderr.write(`no bench is called ${unknown.join(', ')}; --list names them\n`);
  process.exitCode = 1;
} else {
  for (const name of wanted.length > 0 ? wanted : Object.keys(benches)) await benches[name]!();
  await run();
}
