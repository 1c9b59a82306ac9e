import { url } from 'virtual:kept-code'
import type { KeepCode } from '@typevisor/x86'
import { readCodeFile } from '../code-file.ts'

const file = url === undefined ? undefined : fetch(url).then((answer) => answer.arrayBuffer())
file?.catch(() => {})

/** The code that was made when the page was built; what it does not have, or where it cannot be loaded, is made here. */
export async function keptCode(): Promise<KeepCode> {
  try {
    const kept = file && readCodeFile(await file)
    return (name, make) => (kept?.name === name ? kept.code : make())
  } catch {
    return (_, make) => make()
  }
}
