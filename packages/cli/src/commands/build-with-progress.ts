import { buildImage, type Image } from '@typevisor/host/images'

/** Builds an image with progress on standard error; SIGINT, SIGTERM and SIGHUP stop it and leave nothing. */
export async function buildWithProgress(name: string): Promise<Image> {
  const controller = new AbortController()
  const abort = () => controller.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, abort)
  try {
    const progress = (line: string) => process.stderr.write(`typevisor: ${line} ...\n`)
    const image = await buildImage(name, { progress, signal: controller.signal })
    process.stderr.write(`typevisor: Image ${name} is in ${image.directory}\n`)
    return image
  } finally {
    for (const signal of signals) process.off(signal, abort)
  }
}
