// busybox is installed as one file and a link for each applet. Its list of them is asked from the file and not by
// running it, for the host may be of another architecture.

/** The list is sorted, and these come first in it. */
const FIRST = Buffer.from('\0[\0[[\0')
const NAME = /^[\x21-\x7e]{1,32}$/
const LIMIT = 1000

/** The names in the applet table of a busybox executable; none when it has no such table. */
export function appletNames(executable: Uint8Array): string[] {
  const bytes = Buffer.from(executable.buffer, executable.byteOffset, executable.byteLength)
  const names: string[] = []
  let at = bytes.indexOf(FIRST) + 1
  while (at > 0 && names.length < LIMIT) {
    const end = bytes.indexOf(0, at)
    const name = bytes.toString('latin1', at, Math.max(end, at))
    if (!NAME.test(name) || name.includes('/')) break
    names.push(name)
    at = end + 1
  }
  return names
}
