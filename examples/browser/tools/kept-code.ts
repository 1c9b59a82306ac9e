import { interpreterCode } from '@typevisor/x86'
import type { Plugin } from 'vite'
import { writeCodeFile } from '../src/code-file.ts'
import { HOT_AFTER } from '../src/heat.ts'

const ID = 'virtual:kept-code'

/** Makes the interpreter's code when the page is built, which takes a page a second; `virtual:kept-code` says where it is. */
export function keptCode(): Plugin {
  let isBuilt = false
  return {
    name: 'kept-code',
    configResolved: ({ command }) => {
      isBuilt = command === 'build'
    },
    resolveId: (id) => (id === ID ? `\0${ID}` : undefined),
    load(id) {
      if (id !== `\0${ID}`) return
      if (!isBuilt) return 'export const url = undefined'
      const source = writeCodeFile(interpreterCode({ recompile: { hotAfter: HOT_AFTER } }))
      const file = this.emitFile({ type: 'asset', name: 'interpreter.bin', source })
      return `export const url = import.meta.ROLLUP_FILE_URL_${file}`
    },
  }
}
