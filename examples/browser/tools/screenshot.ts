// Takes docs/images/browser.png: the page at the shell prompt, with a few commands typed.

import { fileURLToPath } from 'node:url'
import { buildPage, imageDirectory, serve, startChromium, waitForLine } from '../testing/index.ts'

const PATH = fileURLToPath(new URL('../../../docs/images/browser.png', import.meta.url))
const BOOT_MS = 120_000
const COMMANDS = ['uname -srm', 'grep -m1 model.name /proc/cpuinfo', 'free -m', 'ls /']

await using page = await buildPage()
await using server = await serve({ '/': page.directory, '/guest/': `${imageDirectory('tiny')}/` })
await using browser = await startChromium()
const tab = await browser.newPage({ viewport: { width: 1080, height: 640 } })
await tab.goto(server.url)
await waitForLine(tab, '/root #', BOOT_MS)
for (const command of COMMANDS) {
  await tab.keyboard.type(`${command}\n`)
  await tab.waitForTimeout(1000)
}
await tab.screenshot({ path: PATH })
