/**
 * Where Causeway does not run, and the sentence that says so. Called first of all by `main.ts`.
 */
import { readFileSync } from 'node:fs';

/** Null on platforms that are served. */
export function refusePlatform(
  platform: NodeJS.Platform = process.platform,
  readMaps: () => string = () => readFileSync('/proc/self/maps', 'utf8'),
): string | null {
  if (platform === 'win32') {
    return 'Windows is not supported; use Linux, macOS or the Windows Subsystem for Linux';
  }
  if (platform !== 'linux') return null;
  let maps: string;
  try {
    maps = readMaps();
  } catch {
    return null; // no /proc: then nothing is known against it
  }
  // What is loaded, not what is installed: glibc systems may have musl beside.
  if (/\/(ld-musl-|libc\.musl-)/.test(maps)) {
    return 'musl is not supported (Alpine); use a system with glibc, such as Debian';
  }
  return null;
}
