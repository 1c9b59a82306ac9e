import type { ReadStream } from 'node:tty'

/** Puts a terminal into raw mode; the function that it returns undoes it, and the end of the process does too. */
export function enterRawMode(terminal: ReadStream): () => void {
  const restore = () => {
    process.off('exit', restore)
    if (!terminal.destroyed) terminal.setRawMode(false)
  }
  terminal.setRawMode(true)
  process.on('exit', restore)
  return restore
}
