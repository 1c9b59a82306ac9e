import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { type BuiltPage, buildPage } from './testing/built-page.ts'
import { startChromium, whyNoChromium } from './testing/chromium.ts'
import { bzImage, COMPRESSORS, elfKernel, PROGRAMS } from './testing/kernels.ts'
import { waitForLine } from './testing/screen.ts'
import { type Content, type StaticServer, serve } from './testing/static-server.ts'
import { imageDirectory } from './tools/image.ts'

const BOOT_MS = 120_000
const skip = whyNoChromium() ?? false
const image = skip === false ? imageDirectory('tiny') : undefined
const skipLinux = skip || (image === undefined ? 'the image tiny is not built' : false)

let built: BuiltPage
let server: StaticServer
let browser: Browser
let tab: Page
before(async () => {
  if (skip !== false) return
  built = await buildPage()
  server = await serve({ '/': built.directory, '/guest/': `${image}/`, ...(await files()) })
  browser = await startChromium()
  tab = await browser.newPage()
  tab.on('pageerror', (error) => assert.fail(error))
})
after(async () => {
  await browser?.close()
  await server?.[Symbol.asyncDispose]()
  await built?.[Symbol.asyncDispose]()
})

const exitKernel = elfKernel(PROGRAMS.exit)
let downloads = 0
let finishSlowDownload = () => {}

/** What the server has beside the page: kernels, and files that are none. */
async function files(): Promise<Record<string, Content>> {
  const contents: Record<string, Content> = {
    '/idle': elfKernel([]),
    '/initrd': new Uint8Array(100_000),
    '/counted': (response) => {
      downloads++
      response.end(exitKernel)
    },
    '/slow': (response) => {
      const file = new Uint8Array(400_000)
      file.set(exitKernel)
      response.setHeader('content-length', file.length).write(file.subarray(0, 200_000))
      finishSlowDownload = () => response.end(file.subarray(200_000))
    },
    '/broken': (response) => {
      response.setHeader('content-length', 1000).write('MZ')
      setTimeout(() => response.destroy(), 100)
    },
    '/refused': (response: ServerResponse) => {
      response.statusCode = 403
      response.end()
    },
  }
  for (const [name, program] of Object.entries(PROGRAMS)) contents[`/${name}`] = elfKernel(program)
  for (const name of Object.keys(COMPRESSORS) as (keyof typeof COMPRESSORS)[]) {
    const packed = await bzImage(exitKernel, name)
    contents[`/${name}`] = packed
    contents[`/cut-${name}`] = packed.subarray(0, packed.length - 20)
  }
  contents['/cut-initrd'] = (await COMPRESSORS.gzip(exitKernel)).subarray(0, 60)
  return contents
}

const open = (query: string) => tab.goto(server.url + query)

/** What the page says when its machine is off or did not start. */
async function lastWords(): Promise<{ message: string; code: string }> {
  await tab.waitForSelector('body[data-state=ended], body[data-state=failed]')
  const [message, code] = await tab.locator('#message, #code').allTextContents()
  return { message, code }
}

/** Pastes as Ctrl-V does. */
async function paste(text: string): Promise<void> {
  await tab.locator('.xterm-helper-textarea').evaluate((element, pasted) => {
    const clipboardData = new DataTransfer()
    clipboardData.setData('text/plain', pasted)
    element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))
  }, text)
}

describe('Linux in a browser', { skip: skipLinux }, () => {
  it('boots to a shell, answers what is typed and pasted, and says when it is off', async () => {
    await open('')
    await waitForLine(tab, '/root #', BOOT_MS)
    const status = (await tab.locator('footer').textContent()) ?? ''
    assert.match(status, /Running\s+15\.\d MB loaded\s+guest time 0:\d\d/)
    await tab.keyboard.type('uname -r\n')
    const { kernelVersion } = JSON.parse(await readFile(join(image!, 'image.json'), 'utf8'))
    await waitForLine(tab, kernelVersion)
    await tab.keyboard.type('stty -echo; wc -c; stty echo\n')
    await paste(`${'x'.repeat(79)}\n`.repeat(250))
    await tab.keyboard.press('Control+d')
    await waitForLine(tab, '20000')
    await tab.keyboard.type('poweroff -f\n')
    assert.deepEqual(await lastWords(), { message: 'The guest switched itself off.', code: '' })
  })
})

describe('a guest in a browser', { skip }, () => {
  for (const [program, message] of [
    ['powerOff', /^The guest switched itself off\.$/],
    ['reset', /^The guest reset the machine\.$/],
    ['exit', /^The guest ended with the exit status 33\.$/],
    ['tripleFault', /^The guest's processor shut down: .*\.$/],
  ] as const) {
    it(`ends with a sentence: ${program}`, async () => {
      await open(`?kernel=${program}`)
      const end = await lastWords()
      assert.match(end.message, message)
      assert.equal(end.code, '')
    })
  }
  for (const compression of Object.keys(COMPRESSORS)) {
    it(`may be a bzImage that is packed with ${compression}`, async () => {
      await open(`?kernel=${compression}`)
      assert.match((await lastWords()).message, /exit status 33/)
    })
  }
  it('begins again with a click, or with Enter when it is off', async () => {
    await open('?kernel=counted')
    await lastWords()
    await tab.keyboard.press('Enter')
    await tab.waitForSelector('body[data-state=loading]')
    await lastWords()
    await tab.click('#restart')
    await tab.waitForSelector('body[data-state=loading]')
    await lastWords()
    assert.equal(downloads, 3)
  })
  it('that floods its console is held back, and the page goes on', async () => {
    await open('?kernel=flood')
    await waitForLine(tab, 'A+')
    await tab.waitForTimeout(1000)
    const started = performance.now()
    await tab.click('#restart')
    await waitForLine(tab, 'A+')
    assert.ok(performance.now() - started < 10_000)
  })
})

describe('the page', { skip }, () => {
  it('shows how much of each file is here', async () => {
    await open('?kernel=slow&initrd=initrd')
    const shown = () => document.querySelector('#downloads')!.textContent.match(/50 %|100 %/g)?.length === 2
    await tab.waitForFunction(shown)
    const rows = await tab.locator('.download').allTextContents()
    assert.match(rows.find((row) => row.startsWith('Kernel')) ?? '', /0\.2 MB of 0\.4 MB · 50 %/)
    assert.match(rows.find((row) => row.startsWith('Initial')) ?? '', /0\.1 MB of 0\.1 MB · 100 %/)
    finishSlowDownload()
    assert.match((await lastWords()).message, /exit status 33/)
  })
  it('fits a phone, and gives it the keys that it does not have', async () => {
    const viewport = { width: 360, height: 640 }
    const phone = await browser.newPage({ viewport, hasTouch: true, isMobile: true })
    await phone.goto(`${server.url}?kernel=idle`)
    await phone.waitForSelector('body[data-state=running]')
    assert.ok(await phone.locator('#keys button', { hasText: 'Ctrl-C' }).isVisible())
    const size = await phone.evaluate(() => {
      const { scrollWidth: width, scrollHeight: height } = document.documentElement
      return { width, height }
    })
    assert.deepEqual(size, viewport)
    await phone.close()
  })
  for (const [query, code] of [
    ['?kernel=missing', 'TV_DOWNLOAD_NOT_FOUND'],
    ['?kernel=broken', 'TV_DOWNLOAD_FAILED'],
    ['?kernel=refused', 'TV_DOWNLOAD_FAILED'],
    ['?kernel=index.html', 'TV_KERNEL_FORMAT'],
    ['?kernel=cut-lz4', 'TV_KERNEL_TRUNCATED'],
    ['?kernel=lz4&initrd=index.html', 'TV_INITRD_FORMAT'],
    ['?kernel=lz4&initrd=cut-initrd', 'TV_INITRD_CORRUPT'],
    ['?kernel=exit&memory=many', 'TV_PAGE_PARAMETER'],
    ['?kernel=exit&memory=9G', 'TV_MEMORY_SIZE'],
    ['?kernel=exit&engine=warp', 'TV_ENGINE_UNKNOWN'],
    ['?kernel=exit&cpu=z80', 'TV_CPU_MODEL'],
  ]) {
    it(`answers ${query} with one sentence and ${code}`, async () => {
      await open(query)
      const end = await lastWords()
      assert.equal(end.code, code)
      assert.match(end.message, /^[A-Z].*\.$/)
    })
  }
})
