import type { Page } from 'playwright-core'

/** The lines that the page's terminal shows. */
export function screen(tab: Page): Promise<string> {
  return tab.evaluate(() => {
    const rows = document.querySelectorAll('.xterm-rows > div')
    return Array.from(rows, ({ textContent }) => textContent.trimEnd()).join('\n')
  })
}

/** At each frame of the page, as is usual, it would keep the page busy that is waited for. */
const POLL_MS = 50

/** Waits until some line of the terminal is all that `pattern` says. */
export async function waitForLine(tab: Page, pattern: string, timeout = 30_000): Promise<void> {
  const shows = (source: string) => {
    const line = new RegExp(`^(?:${source})\\s*$`)
    const rows = document.querySelectorAll('.xterm-rows > div')
    return Array.from(rows).some(({ textContent }) => line.test(textContent))
  }
  try {
    await tab.waitForFunction(shows, pattern, { timeout, polling: POLL_MS })
  } catch (cause) {
    throw new Error(`The terminal shows no line ${pattern}:\n${await screen(tab)}`, { cause })
  }
}
