import { type Buffers, type Completion, DiskError, RawDisk } from '@typevisor/vmm/disk'
import type { NodeFile } from './node-file.ts'

/** What a qcow2 image begins with. */
const MAGIC = [0x51, 0x46, 0x49, 0xfb]

/**
 * A raw disk that nobody called raw. A guest that made it look like an image could have a file beside it opened as its
 * backing file the next time; so a write of those first bytes is refused.
 */
export class ProbedRawDisk extends RawDisk {
  readonly #path: string

  constructor(file: NodeFile) {
    super(file)
    this.#path = file.path
  }

  override write(offset: number, buffers: Buffers): Completion {
    if (offset < MAGIC.length && continuesMagic(offset, buffers)) {
      const why = 'its content alone says what format it has. Say that it is raw to allow it'
      throw new DiskError('TV_DISK_FORMAT', `${this.#path} may not become a qcow2 image by a write: ${why}.`)
    }
    return super.write(offset, buffers)
  }
}

function continuesMagic(offset: number, buffers: Buffers): boolean {
  let at = offset
  for (const buffer of buffers) {
    for (let i = 0; i < buffer.length && at < MAGIC.length; i++) if (buffer[i] !== MAGIC[at++]) return false
  }
  return at > offset
}
