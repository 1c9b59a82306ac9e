import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ImageError } from './errors.ts'
import { type Image, ImageStore } from './store.ts'
import { type BuildContext, buildTiny, TINY, TINY32 } from './tiny/tiny.ts'

/** How each image that can be built is made. */
const RECIPES: Record<string, { description: string; build: (context: BuildContext) => Promise<void> }> = {
  tiny: {
    description: "Debian's cloud kernel and a busybox shell on the serial console",
    build: (context) => buildTiny(TINY, context),
  },
  tiny32: {
    description: "The same of 32 bits, with Debian's kernel for i686",
    build: (context) => buildTiny(TINY32, context),
  },
}

/** The images that `buildImage` knows. */
export function imageRecipes(): { name: string; description: string }[] {
  return Object.entries(RECIPES).map(([name, { description }]) => ({ name, description }))
}

export interface BuildOptions {
  store?: ImageStore
  /** Is told what happens, a line at a time. */
  progress?: (line: string) => void
  /** Stops the build; nothing of it is left. */
  signal?: AbortSignal
}

/** Makes an image by name and puts it into the store. */
export async function buildImage(name: string, options: BuildOptions = {}): Promise<Image> {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined
  if (!recipe) throw unknownImage(name)
  const { store = new ImageStore(), progress = () => {}, signal } = options
  try {
    return await store.create(name, async (target) => {
      const scratch = join(target, '.scratch')
      await mkdir(scratch)
      await recipe.build({ name, target, scratch, progress, ...(signal ? { signal } : {}) })
      signal?.throwIfAborted()
      await rm(scratch, { recursive: true })
    })
  } catch (cause) {
    if (!signal?.aborted) throw cause
    throw new ImageError(
      'TV_IMAGE_INTERRUPTED',
      `The build of image ${name} was interrupted; nothing is left of it.`,
      {
        cause,
      },
    )
  }
}

/** The image, complete; an error that says what to do when it is not. */
export async function requireImage(name: string, store: ImageStore = new ImageStore()): Promise<Image> {
  const image = await store.find(name)
  if (image) return image
  if (!Object.hasOwn(RECIPES, name)) throw unknownImage(name)
  const message = `There is no image ${name} here yet; 'typevisor image build ${name}' makes it.`
  throw new ImageError('TV_IMAGE_NOT_BUILT', message)
}

export function isKnownImage(name: string): boolean {
  return Object.hasOwn(RECIPES, name)
}

function unknownImage(name: string): ImageError {
  const known = Object.keys(RECIPES).join(', ')
  return new ImageError('TV_IMAGE_UNKNOWN', `There is no image named ${name}; known images: ${known}.`)
}
