import { homedir } from 'node:os'
import { join } from 'node:path'

/** `typevisor` in the user's cache directory. XDG Base Directory Specification, "Environment variables". */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const cache = environment.XDG_CACHE_HOME
  return join(cache?.startsWith('/') ? cache : join(homedir(), '.cache'), 'typevisor')
}
