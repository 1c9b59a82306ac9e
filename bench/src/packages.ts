import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { imagesDirectory, PrivateApt } from '@typevisor/host/images'

/** A directory in the user's cache, beside the images, with Debian's packages unpacked in it; fetched when it is not there. */
export async function unpackedPackages(name: string, packages: readonly string[]): Promise<string> {
  const target = join(dirname(imagesDirectory()), 'bench', name)
  if (existsSync(target)) return target
  const partial = `${target}.${process.pid}.partial`
  const state = join(partial, '.apt')
  try {
    await mkdir(state, { recursive: true })
    const apt = new PrivateApt(state)
    await apt.update()
    for (const each of packages) {
      process.stderr.write(`bench: Downloading ${each} ...\n`)
      await apt.unpack(await apt.show(each), partial)
    }
    await rm(state, { recursive: true })
    await rename(partial, target)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
  return target
}
