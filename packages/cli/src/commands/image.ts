import { ImageStore, imageRecipes } from '@typevisor/host/images'
import { type Command, columns } from '../options.ts'
import { buildWithProgress } from './build-with-progress.ts'

const KNOWN = columns(imageRecipes().map(({ name, description }) => [name, description]))
const NAMES = imageRecipes().map(({ name }) => name)

export const IMAGE_BUILD: Command = {
  name: 'image build',
  summary: "Make an image from Debian's packages, with apt and without root, in the user's cache directory.",
  arguments: ['NAME'],
  completeArguments: NAMES,
  options: {},
  notes: `Images:\n${KNOWN}`,
  run: async ({ positionals: [name] }) => {
    await buildWithProgress(name)
    return 0
  },
}

export const IMAGE_LS: Command = {
  name: 'image ls',
  summary: 'List the images that are here.',
  arguments: [],
  options: {
    json: { help: 'Print JSON: an array of { name, kernelVersion, built, bytes, directory, packages }.' },
  },
  run: async ({ switches }) => {
    const images = (await new ImageStore().list()).map(({ directory, record }) => ({
      name: record.name,
      kernelVersion: record.kernelVersion,
      built: record.built,
      bytes: record.kernelBytes + record.initrdBytes,
      directory,
      packages: record.packages,
    }))
    if (switches.has('json')) {
      process.stdout.write(`${JSON.stringify(images, undefined, 2)}\n`)
    } else if (images.length > 0) {
      const rows = images.map((each) => [
        each.name,
        `${each.kernelVersion}  ${(each.bytes / 1e6).toFixed(1)} MB  ${each.built}`,
      ])
      process.stdout.write(`${columns(rows)}\n`)
    }
    return 0
  },
}

export const IMAGE_RM: Command = {
  name: 'image rm',
  summary: 'Remove an image.',
  arguments: ['NAME'],
  completeArguments: NAMES,
  options: {},
  run: async ({ positionals: [name] }) => {
    await new ImageStore().remove(name)
    return 0
  },
}
