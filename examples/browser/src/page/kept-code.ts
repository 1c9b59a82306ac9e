import { url } from 'virtual:kept-code'

/** The file of the interpreter's code; undefined where there is none, or it cannot be loaded: then a worker makes it. */
export const keptCode: Promise<ArrayBuffer | undefined> = load().catch(() => undefined)

async function load(): Promise<ArrayBuffer | undefined> {
  if (url === undefined) return undefined
  const answer = await fetch(url)
  return answer.ok ? answer.arrayBuffer() : undefined
}
