import { spawnSync } from 'node:child_process'
import type { ReadStream } from 'node:tty'

/** Puts a terminal into raw mode; the function that it returns undoes it, and the end of the process does too. */
export function enterRawMode(terminal: ReadStream): () => void {
  const restore = () => {
    process.off('exit', restore)
    if (!terminal.destroyed) terminal.setRawMode(false)
  }
  terminal.setRawMode(true)
  process.on('exit', restore)
  // Node leaves ONLCR on, which breaks what a guest draws; where there is no stty(1) that has to do.
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
  return restore
}
