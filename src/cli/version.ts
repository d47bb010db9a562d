/**
 * The version of this program. A static import, so that a bundle carries it inside and reads no file.
 */
import manifest from '../../package.json' with { type: 'json' };

/** Given by the build of a release; from source there is none. */
declare const CAUSEWAY_COMMIT: string | undefined;

export const version: string = manifest.version;
export const commit: string = typeof CAUSEWAY_COMMIT === 'string' ? CAUSEWAY_COMMIT : '';
