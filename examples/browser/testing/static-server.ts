import { createReadStream, type Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
}

/** What lies under a path: a folder, a file's contents, or a function that answers. */
export type Content = string | Uint8Array | ((response: ServerResponse) => void)

export interface StaticServer extends AsyncDisposable {
  readonly url: string
}

/** Serves over loopback as a static host does: no special headers. The longest path that fits decides. */
export async function serve(contents: Record<string, Content>): Promise<StaticServer> {
  const paths = Object.keys(contents).sort((a, b) => b.length - a.length)
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const path = paths.find((each) => pathname.startsWith(each))
    if (path === undefined) return answerNotFound(response)
    answer(contents[path], pathname.slice(path.length), response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function answer(content: Content, rest: string, response: ServerResponse): void {
  if (typeof content === 'function') content(response)
  else if (typeof content === 'string') void sendFile(join(content, rest || 'index.html'), response)
  else response.setHeader('content-length', content.length).end(content)
}

async function sendFile(path: string, response: ServerResponse): Promise<void> {
  const found: Stats | undefined = await stat(path).catch(() => undefined)
  if (!found?.isFile()) return answerNotFound(response)
  response.setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream')
  response.setHeader('content-length', found.size)
  createReadStream(path).pipe(response)
}

function answerNotFound(response: ServerResponse): void {
  response.statusCode = 404
  response.end()
}
