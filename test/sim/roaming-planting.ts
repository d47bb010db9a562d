/**
 * Ways to plant a bug in the moves of sessions, from outside, between the parts that a node is made of: each takes
 * one rule of ADR 0023 out. Used by roaming-plants.ts (random runs) and hard-cases-roaming.ts (scenes).
 */
import type { RoamingRecord } from '../../src/core/roaming-record.ts';
import type { Session } from '../../src/core/session.ts';
import type { RegionLife } from './region-life.ts';

/** For so long the disk does not have what it should. */
const HAD_LATE_MS = 1500;
const FENCE_LATE_MS = 60_000;

/** Identifiers of every home are of the first share. */
export function oneShare({ roaming }: RegionLife): void {
  const { core } = roaming!;
  const arrive = core.arrive.bind(core);
  core.arrive = (arrival) =>
    arrive({
      ...arrival,
      done: () => {
        const session = core.session(arrival.clientId);
        session?.roam?.beginTurn(session.tailSeq + 1, 0);
        arrival.done();
      },
    });
}

/** A home has all regions' words at once. */
export function forgetsEarly({ roaming }: RegionLife): void {
  const { core } = roaming!;
  const letGo = core.letGo.bind(core);
  core.letGo = (session, ...where) => {
    const ticket = letGo(session, ...where);
    if (session.roam !== null) session.roam.isOver = () => true;
    return ticket;
  };
}

/** What is wanted counts as subscribed to before the other region was asked for it. */
export function saysWordEarly({ holder }: RegionLife): void {
  const link = holder.link.bind(holder);
  holder.link = (region) => {
    const found = link(region);
    if (found !== null) found.sync = () => true;
    return found;
  };
}

/** The record of the session has something else for a while, and is right later. */
function recordedLate(
  { node, roaming }: RegionLife,
  kernel: { after: (node: RegionLife['node'], ms: number, task: () => void) => void },
  session: Session,
  lateMs: number,
  change: (record: RoamingRecord) => RoamingRecord,
): void {
  const roam = session.roam!;
  const record = roam.record.bind(roam);
  roam.record = () => change(record());
  kernel.after(node, lateMs, () => {
    roam.record = record;
    if (!session.ended) roaming!.core.save(session);
  });
}

type Late = Parameters<typeof recordedLate>[1];

/** How far a page has come is noted behind what was in it. */
export function hadLater(life: RegionLife, kernel: Late): void {
  const { core } = life.roaming!;
  const takeIn = core.takeIn.bind(core);
  core.takeIn = (session, source, entries) => {
    const { region, had } = source;
    recordedLate(life, kernel, session, HAD_LATE_MS, (record) => ({
      ...record,
      sources: record.sources.map((one) => (one.region === region ? { ...one, had } : one)),
    }));
    return takeIn(session, source, entries);
  };
}

/** A home answers before its disk knows that it has let go. */
export function fenceLater(life: RegionLife, kernel: Late): void {
  const { core } = life.roaming!;
  const letGo = core.letGo.bind(core);
  core.letGo = (session, ...where) => {
    const ticket = letGo(session, ...where);
    if (session.roam === null || session.ended) return ticket;
    recordedLate(life, kernel, session, FENCE_LATE_MS, (record) => ({
      ...record,
      leaving: null,
    }));
    return 0;
  };
}

/** What was given to a region that nobody could ask stays where it is. */
export function neverResolves({ roaming }: RegionLife): void {
  roaming!.core.resolveDoubt = () => {};
}

/** Who hands a session back does not say what it has of it. */
export function saysNothingTaken({ roaming }: RegionLife): void {
  const { mover } = roaming!;
  const fetch = mover.fetch.bind(mover);
  mover.fetch = (clientId, home, epoch, done) =>
    fetch(clientId, home, epoch, (answer, known) => {
      const isHanded = answer.kind === 'handed';
      done(isHanded ? { ...answer, handed: { ...answer.handed, taken: null } } : answer, known);
    });
}

/** A client that the directory does not know begins, whoever has it. */
export function asksNobody({ roaming }: RegionLife): void {
  roaming!.mover.locate = (_clientId, _epoch, done) => done(null, true);
}

/** No other region hears that a session has begun anew. */
export function saysNothingOfAnew({ roaming }: RegionLife): void {
  roaming!.core.sayAnew = () => {};
}

/** Nobody goes for what is elsewhere. */
export function fetchesNothing({ roaming }: RegionLife): void {
  roaming!.mover.begin = () => {};
}
