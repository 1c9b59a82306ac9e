import { virtioPci } from '@typevisor/vmm'
import { VirtioBlk } from '@typevisor/vmm/virtio'
import { type OpenDiskOptions, openDisk } from '../../disk/open-disk.ts'
import { type Attachment, type Tell, tellOnce } from './attachment.ts'

/** A disk image of this host as a disk of the machine. */
export interface DomainDisk extends OpenDiskOptions {
  readonly path: string
  /** Up to 20 characters of ASCII, by which the guest can tell disks apart. */
  readonly serial?: string
}

/** Opens the image. */
export async function attachDisk(options: DomainDisk, tell: Tell): Promise<Attachment> {
  const { path, serial } = options
  const disk = await openDisk(path, options)
  const say = tellOnce(tell)
  let device: VirtioBlk | undefined
  const part = virtioPci(
    ({ clock }) => {
      device = new VirtioBlk({
        disk,
        clock,
        ...(serial === undefined ? {} : { serial }),
        onError: (error) => say(`The guest got an I/O error from ${path}: ${describe(error)}`),
      })
      return device
    },
    { onFault: (reason) => say(`The guest's driver of ${path} broke the rules of virtio: ${reason}.`) },
  )
  const close = async () => {
    await device?.stop()
    await disk.close()
  }
  return { part, close }
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === undefined ? message : `${message} (${code})`
}
