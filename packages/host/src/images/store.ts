// Images live in the user's cache: one directory each, with its files and a record of what it is. A directory appears
// there by a rename when all of it is written; what is being made has a name that begins with a dot.

import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheFolder } from '../cache/folder.ts'
import { ImageError } from './errors.ts'

/** What an image is: `image.json` in its directory. */
export interface ImageRecord {
  version: 1
  name: string
  /** ISO 8601. */
  built: string
  kernelVersion: string
  /** Debian's packages that it was made from, with their versions. */
  packages: Record<string, string>
  /** Names of files in the image's directory. */
  kernel: string
  initrd: string
  /** The kernel's command line. */
  commandLine: string
  /** What is added to it when the guest's input is a file or a pipe and no terminal. */
  streamCommandLine: string
  kernelBytes: number
  initrdBytes: number
}

export interface Image {
  directory: string
  record: ImageRecord
}

const RECORD = 'image.json'

/** `typevisor/images` in the user's cache directory. */
export function imagesDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return join(cacheFolder(environment), 'images')
}

export class ImageStore {
  readonly directory: string

  constructor(directory: string = imagesDirectory()) {
    this.directory = directory
  }

  /** The images that are complete, by name. */
  async list(): Promise<Image[]> {
    const images: Image[] = []
    for (const name of (await this.#names()).sort()) {
      const image = await this.find(name).catch(() => undefined)
      if (image) images.push(image)
    }
    return images
  }

  /** The image, or undefined when there is none. */
  async find(name: string): Promise<Image | undefined> {
    if (!isImageName(name)) return undefined
    const directory = join(this.directory, name)
    let text: string
    try {
      text = await readFile(join(directory, RECORD), 'utf8')
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
      throw cacheError(`The image ${name} cannot be read`, cause)
    }
    const record = parseRecord(text)
    if (!record) {
      const message = `The record of image ${name} is damaged; 'typevisor image build ${name}' makes it anew.`
      throw new ImageError('TV_IMAGE_CORRUPT', message)
    }
    return { directory, record }
  }

  /** Removes an image, complete or damaged. */
  async remove(name: string): Promise<void> {
    const directory = join(this.directory, name)
    if (!isImageName(name) || !(await isDirectory(directory))) {
      throw new ImageError('TV_IMAGE_NOT_BUILT', `There is no image ${name} here.`)
    }
    await this.#guard(`The image ${name} cannot be removed`, () => rm(directory, { recursive: true }))
  }

  /**
   * Puts an image in place when `make` has filled the directory that it is given. If it fails or is aborted nothing
   * is left, and an image of that name that was there is there still.
   */
  async create(name: string, make: (directory: string) => Promise<void>): Promise<Image> {
    const prefix = `.${name}.${process.pid}`
    const partial = join(this.directory, `${prefix}.partial`)
    try {
      await this.#guard('The image cannot be written', async () => {
        await this.#removeLeftovers()
        await rm(partial, { recursive: true, force: true })
        await mkdir(partial, { recursive: true })
      })
      await this.#guard('The image cannot be written', () => make(partial))
      await this.#guard('The image cannot be put in place', () => this.#replace(name, partial, prefix))
    } finally {
      await rm(partial, { recursive: true, force: true }).catch(() => {})
    }
    const image = await this.find(name)
    if (!image) throw new Error('Invariant broken: an image that was made has a record')
    return image
  }

  async #replace(name: string, partial: string, prefix: string): Promise<void> {
    const target = join(this.directory, name)
    const old = join(this.directory, `${prefix}.old.partial`)
    await rm(old, { recursive: true, force: true })
    const existed = await isDirectory(target)
    if (existed) await rename(target, old)
    try {
      await rename(partial, target)
    } catch (cause) {
      if (existed) await rename(old, target)
      throw cause
    }
    await rm(old, { recursive: true, force: true })
  }

  /** Removes what builds left that were killed. */
  async #removeLeftovers(): Promise<void> {
    for (const name of await this.#names(/^\..*\.(\d+)(\.old)?\.partial$/)) {
      const pid = Number(/\.(\d+)(?:\.old)?\.partial$/.exec(name)?.[1])
      if (!isAlive(pid)) await rm(join(this.directory, name), { recursive: true, force: true })
    }
  }

  async #names(pattern = /^[^.]/): Promise<string[]> {
    try {
      return (await readdir(this.directory)).filter((name) => pattern.test(name))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw cacheError('The images cannot be listed', cause)
    }
  }

  async #guard<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (cause) {
      throw isSystemError(cause) ? cacheError(what, cause) : cause
    }
  }
}

/** Names are file names of our choice: letters, digits and dashes. */
export function isImageName(name: string): boolean {
  return /^[a-z0-9][a-z0-9-]{0,63}$/.test(name)
}

/** The record, or undefined for anything else. */
export function parseRecord(text: string): ImageRecord | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const record = value as Partial<ImageRecord>
  const texts = [
    record.name,
    record.built,
    record.kernelVersion,
    record.commandLine,
    record.streamCommandLine,
  ]
  const files = [record.kernel, record.initrd]
  if (record.version !== 1 || !texts.every((text) => typeof text === 'string')) return undefined
  if (!files.every((file) => typeof file === 'string' && /^[^/\0]+$/.test(file))) return undefined
  if (typeof record.kernelBytes !== 'number' || typeof record.initrdBytes !== 'number') return undefined
  return record as ImageRecord
}

function isSystemError(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause
}

function cacheError(what: string, cause: unknown): ImageError {
  const { code, message, path } = cause as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new ImageError('TV_IMAGE_NO_SPACE', `${what}: no space is left on the device.`, { cause })
  }
  return new ImageError('TV_IMAGE_CACHE', `${what}: ${path ? `${code} at ${path}` : message}.`, { cause })
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found?.isDirectory() ?? false
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM'
  }
}
