/** The tables of records in a Cassandra: statements, and what the driver's answers mean. */
import type {
  CassandraFailure,
  CassandraPort,
  CassandraRow,
  CassandraStatement,
} from '../../drivers/cassandra/cassandra-port.ts';
import { cutRing } from '../../drivers/cassandra/token-ring.ts';
import { TokenScan } from '../../drivers/cassandra/token-scan.ts';
import type { RetainedTable, TableError, TablePage, TableRow } from './retained-table.ts';

interface Statements {
  readonly write: CassandraStatement;
  readonly remove: CassandraStatement;
  readonly read: CassandraStatement;
  readonly scan: CassandraStatement;
  readonly scanRecords: CassandraStatement;
}

/** Of a table of records by that key. */
function statementsOf(table: string, key: string): Statements {
  const columns = `${key}, WRITETIME(record), TTL(record)`;
  const range = `FROM ${table} WHERE token(${key}) > ? AND token(${key}) <= ?`;
  return {
    // TTL 0: none.
    write: {
      cql: `INSERT INTO ${table} (${key}, record) VALUES (?, ?) USING TTL ?`,
      together: `INSERT INTO ${table} (${key}, record) VALUES (?, ?) USING TTL ? AND TIMESTAMP ?`,
    },
    remove: { cql: `DELETE FROM ${table} WHERE ${key} = ?` },
    read: { cql: `SELECT ${columns}, record FROM ${table} WHERE ${key} = ?` },
    scan: { cql: `SELECT ${columns} ${range}` },
    scanRecords: { cql: `SELECT ${columns}, record ${range}` },
  };
}

const RETAINED = statementsOf('retained', 'topic');
const SESSIONS = statementsOf('sessions', 'client_id');

/** At least so many parts of the ring: a page that failed is read again, not all before it. */
const RING_PIECES = 64;
const EMPTY_PAGE: TablePage = { rows: [], next: null, progress: 1 };

export class CqlTable implements RetainedTable {
  readonly #port: CassandraPort;
  readonly #statements: Statements;
  #scan: TokenScan | null = null;
  #page = 0;

  private constructor(port: CassandraPort, statements: Statements) {
    this.#port = port;
    this.#statements = statements;
  }

  static retained(port: CassandraPort): CqlTable {
    return new CqlTable(port, RETAINED);
  }

  /** The directory of sessions; what it calls a topic is a client identifier. */
  static sessions(port: CassandraPort): CqlTable {
    return new CqlTable(port, SESSIONS);
  }

  get isUp(): boolean {
    return this.#port.state !== 'down';
  }

  write(
    topic: string,
    record: Buffer,
    timeUs: number,
    ttlS: number,
    done: (error: TableError | null) => void,
  ): void {
    const values = [topic, record, ttlS];
    this.#port.write(this.#statements.write, values, BigInt(timeUs), (failure) =>
      done(errorOf(failure)),
    );
  }

  remove(topic: string, timeUs: number, done: (error: TableError | null) => void): void {
    this.#port.write(this.#statements.remove, [topic], BigInt(timeUs), (failure) =>
      done(errorOf(failure)),
    );
  }

  read(topic: string, done: (error: TableError | null, row: TableRow | null) => void): void {
    this.#port.read(this.#statements.read, [topic], 1, null, (failure, rows) => {
      if (failure !== null) done(errorOf(failure), null);
      else done(null, rows.length === 0 ? null : rowOf(rows[0]!));
    });
  }

  page(
    cursor: string,
    rowsMax: number,
    hasRecords: boolean,
    done: (error: TableError | null, page: TablePage) => void,
  ): void {
    if (cursor === '' || this.#scan === null) {
      this.#page = 0;
      this.#scan = new TokenScan({
        port: this.#port,
        statement: hasRecords ? this.#statements.scanRecords : this.#statements.scan,
        ranges: cutRing(this.#port.tokens(), RING_PIECES),
        pageRows: rowsMax,
      });
    }
    const scan = this.#scan;
    scan.next((failure, read) => {
      if (failure !== null || read === null) {
        done(errorOf(failure) ?? new Error('no page'), EMPTY_PAGE);
        return;
      }
      const rows: TableRow[] = [];
      for (const row of read.rows) {
        const found = rowOf(row);
        if (found !== null) rows.push(found);
      }
      this.#page++;
      if (scan.isDone) this.#scan = null;
      done(null, { rows, next: scan.isDone ? null : `${this.#page}`, progress: scan.progress });
    });
  }
}

/** Null: the row has no record (any more). */
function rowOf([topic, timeUs, ttlS, record = null]: CassandraRow): TableRow | null {
  if (typeof topic !== 'string' || typeof timeUs !== 'bigint') return null;
  return {
    topic,
    timeUs: Number(timeUs),
    expires: typeof ttlS === 'number',
    record: Buffer.isBuffer(record) ? record : null,
  };
}

function errorOf(failure: CassandraFailure | null): TableError | null {
  if (failure === null) return null;
  // What somebody has to change first (a login, a table) may be changed; what is refused for itself stays so.
  return failure.code === 'INVALID' ? Object.assign(failure, { isFinal: true }) : failure;
}
