import { realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, isAbsolute, resolve, sep } from 'node:path'
import {
  type BackingReference,
  type BlockBackend,
  type CreateQcow2Options,
  createQcow2,
  DiskError,
  isQcow2,
  Qcow2Disk,
  type RandomAccessFile,
  RawDisk,
} from '@typevisor/vmm/disk'
import { diskCodecs } from './codecs.ts'
import { NodeFile } from './node-file.ts'
import { ProbedRawDisk } from './probed-raw.ts'

export type DiskFormat = 'raw' | 'qcow2'

export interface OpenDiskOptions {
  readOnly?: boolean
  /** As the file's content says, where nothing is said; a raw disk may not become an image then. */
  format?: DiskFormat
  /**
   * Backing files are opened within this folder alone, wherever symbolic links lead; `false` refuses them all. Without
   * it, it is the folder of the image itself.
   */
  backingFolder?: string | false
}

const MAX_CHAIN = 64

interface Chain {
  folder: string | false
  /** Files that are open above this one, by device and inode. */
  above: readonly string[]
}

/** Opens a disk image and what lies under it. */
export async function openDisk(path: string, options: OpenDiskOptions = {}): Promise<BlockBackend> {
  const { readOnly = false, format, backingFolder } = options
  const file = await NodeFile.open(path, { readOnly })
  const folder = backingFolder ?? dirname(realpathSync(path))
  const found = format ?? (await probe(file))
  if (found === 'raw' && format === undefined && !readOnly) return new ProbedRawDisk(file)
  return openFormat(file, path, found, { folder, above: [identity(path)] })
}

/** Makes a new image; what has its name already stays as it is, and that is an error. */
export async function createDisk(
  path: string,
  options: ({ format: 'qcow2' } & CreateQcow2Options) | { format: 'raw'; size: number },
): Promise<void> {
  const file = await NodeFile.open(path, { create: true })
  try {
    if (options.format === 'qcow2') await createQcow2(file, options)
    else await file.truncate(options.size)
  } catch (error) {
    rmSync(path)
    throw error
  } finally {
    await file.close()
  }
}

async function openFormat(file: NodeFile, path: string, format: string, chain: Chain): Promise<BlockBackend> {
  try {
    if (format === 'raw') return new RawDisk(file)
    if (format !== 'qcow2') {
      throw new DiskError('TV_DISK_UNSUPPORTED', `${path} has the format ${format}, which is not supported.`)
    }
    return await Qcow2Disk.open(file, {
      codecs: diskCodecs,
      openBacking: (reference) => openBacking(reference, path, chain),
    })
  } catch (error) {
    await file.close()
    throw error
  }
}

async function openBacking(reference: BackingReference, above: string, chain: Chain): Promise<BlockBackend> {
  const path = backingPath(reference.name, above, chain.folder)
  const id = identity(path)
  if (chain.above.includes(id)) throw refusal(reference.name, 'the images form a loop')
  if (chain.above.length === MAX_CHAIN)
    throw refusal(reference.name, `the chain is longer than ${MAX_CHAIN} images`)
  const file = await NodeFile.open(path, { readOnly: true })
  const next = { ...chain, above: [...chain.above, id] }
  if (reference.format) return openFormat(file, path, reference.format, next)
  // Without a recorded format a guest that wrote to a raw disk may have made it look like an image.
  return openFormat(file, path, await probe(file), { ...next, folder: false })
}

/** Where a backing file is, after all symbolic links; refused outside of the folder. */
function backingPath(name: string, above: string, folder: string | false): string {
  if (folder === false) throw refusal(name, 'backing files are not allowed here')
  if (/^[a-z][a-z0-9+.-]*:/i.test(name)) throw refusal(name, 'it is no plain file name')
  if (name.includes('\0')) throw refusal(name, 'its name has a zero byte')
  const wanted = isAbsolute(name) ? name : resolve(dirname(realpathSync(above)), name)
  const allowed = realpathSync(folder)
  let path: string
  try {
    path = realpathSync(wanted)
  } catch (cause) {
    throw refusal(name, 'there is no such file', cause)
  }
  if (!path.startsWith(allowed.endsWith(sep) ? allowed : allowed + sep))
    throw refusal(name, `it is outside of ${allowed}`)
  return path
}

function refusal(name: string, why: string, cause?: unknown): DiskError {
  return new DiskError('TV_DISK_BACKING', `The backing file ${JSON.stringify(name)} is not opened: ${why}.`, {
    cause,
  })
}

function identity(path: string): string {
  const { dev, ino } = statSync(path)
  return `${dev}:${ino}`
}

async function probe(file: RandomAccessFile): Promise<DiskFormat> {
  const start = new Uint8Array(4)
  await file.read(0, [start])
  return isQcow2(start) ? 'qcow2' : 'raw'
}
