import { type FileHandle, open } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { OutputFileError } from '../errors.ts'

/** A file that a run writes. It is opened, and emptied, before the machine starts, so that a wrong name is told at once. */
export class OutputFile {
  readonly #path: string
  readonly #handle: FileHandle

  private constructor(path: string, handle: FileHandle) {
    this.#path = path
    this.#handle = handle
  }

  static async open(path: string): Promise<OutputFile> {
    return new OutputFile(path, await telling(path, () => open(path, 'w')))
  }

  stream(): Writable {
    return this.#handle.createWriteStream()
  }

  /** Writes all that the file is to hold, and closes it. */
  async write(text: string): Promise<void> {
    await telling(this.#path, () => this.#handle.writeFile(text))
    await this.#handle.close()
  }
}

async function telling<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw new OutputFileError(path, code ?? message)
  }
}
