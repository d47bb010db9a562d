/**
 * The version of this program. A static import, so that a bundle carries it inside and reads no file.
 */
import manifest from '../../package.json' with { type: 'json' };

export const version: string = manifest.version;
