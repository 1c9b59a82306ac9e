import { existsSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { type Browser, chromium } from 'playwright-core'

/** Debian's Chromium. */
const EXECUTABLE = '/usr/bin/chromium'
/** A browser that is not idle after so long never is. */
const IDLE_SECONDS = 20

/** Why no browser can be started here, or undefined. */
export function whyNoChromium(): string | undefined {
  return existsSync(EXECUTABLE) ? undefined : `${EXECUTABLE} is not installed`
}

/** Starts Chromium without a window, and without what it would look for on the network. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** Waits until what the browser does at its own start is over: all its processes together take less than a tenth of a processor. */
export async function untilIdle(browser: Browser): Promise<void> {
  const session = await browser.newBrowserCDPSession()
  const cpuSeconds = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo')
    return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0)
  }
  const interval = 0.5
  for (let waited = 0, before = await cpuSeconds(); waited < IDLE_SECONDS; waited += interval) {
    await setTimeout(1000 * interval)
    const now = await cpuSeconds()
    if (now - before < interval / 10) break
    before = now
  }
  await session.detach()
}
