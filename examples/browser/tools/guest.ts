// Fills public/guest, which lies next to the page, from the image tiny; builds that when it is not here.

import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { imageDirectory, typevisor } from './image.ts'

const GUEST = fileURLToPath(new URL('../public/guest', import.meta.url))

if (imageDirectory('tiny') === undefined) typevisor('image', 'build', 'tiny')
const image = imageDirectory('tiny')
if (image === undefined) throw new Error('Invariant broken: an image that was built is there')
await mkdir(GUEST, { recursive: true })
for (const file of ['vmlinuz', 'initramfs.gz']) await copyFile(join(image, file), join(GUEST, file))
