import type { PciPart } from '@typevisor/vmm'

/** A device together with what it uses of this process: files, sockets. */
export interface Attachment {
  readonly part: PciPart
  /** The machine is there, and the device in it: what the host's side has to do yet. */
  open?(): Promise<void>
  /** The machine has ended, or was never made. */
  close(): Promise<void>
}

/** Closes all, whatever becomes of some; the first failure is thrown then. */
export async function closeAttachments(attachments: readonly Attachment[]): Promise<void> {
  const results = await Promise.allSettled(attachments.map((attachment) => attachment.close()))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Is told what an operator should know while the machine runs: one sentence. */
export type Tell = (sentence: string) => void

const DIFFERENT_SENTENCES = 20

/** Says each sentence once, and not too many: guests can cause as many as they like. */
export function tellOnce(tell: Tell): Tell {
  const told = new Set<string>()
  return (sentence) => {
    if (told.has(sentence) || told.size >= DIFFERENT_SENTENCES) return
    told.add(sentence)
    tell(sentence)
  }
}
