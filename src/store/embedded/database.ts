/** LevelDB as the stores of this folder use it: keys and values are bytes. */
import { ClassicLevel } from 'classic-level';

export type Database = ClassicLevel<Buffer, Buffer>;
export type Batch = ReturnType<Database['batch']>;

export interface DatabaseSizes {
  readonly writeBufferBytes: number;
  readonly cacheBytes: number;
  /** Each open table is mapped into memory, 2 MiB at most. */
  readonly openFilesMax: number;
}

/** Not opened yet. */
export function databaseIn(directory: string, sizes: DatabaseSizes): Database {
  return new ClassicLevel<Buffer, Buffer>(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: sizes.writeBufferBytes,
    cacheSize: sizes.cacheBytes,
    maxOpenFiles: sizes.openFilesMax,
  });
}
