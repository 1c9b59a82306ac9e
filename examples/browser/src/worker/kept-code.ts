import type { KeepCode } from '@typevisor/x86'
import { readCodeFile } from '../code-file.ts'

/** Takes code from the file that was made when the page was built; what that does not have is made here. */
export function keptCode(file: ArrayBuffer | undefined): KeepCode {
  try {
    const kept = file && readCodeFile(file)
    return (name, make) => (kept?.name === name ? kept.code : make())
  } catch {
    return (_, make) => make()
  }
}
