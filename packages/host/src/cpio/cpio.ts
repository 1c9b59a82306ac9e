// The archive that Linux unpacks as its initramfs. Linux documentation, "initramfs buffer format"; cpio(5),
// "New ASCII Format". Owner is root, times are 0, inodes count up: the same entries give the same bytes.

/** One file of an archive. `path` is relative, without "." and "..". */
export type CpioEntry =
  | { kind: 'file'; path: string; mode: number; data: Uint8Array }
  | { kind: 'directory'; path: string; mode: number }
  | { kind: 'symlink'; path: string; target: string }
  | { kind: 'character-device'; path: string; mode: number; major: number; minor: number }

/** The type bits of `st_mode`. */
const TYPE_BITS = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  'character-device': 0o020000,
} as const satisfies Record<CpioEntry['kind'], number>

const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'
const MAX_FILE_BYTES = 0xffff_ffff

/** The archive in "new ASCII" format, uncompressed. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = []
  entries.forEach((entry, index) => {
    const data = dataOf(entry)
    if (data.length > MAX_FILE_BYTES) throw new RangeError(`${entry.path} is too large for a cpio archive`)
    parts.push(header(entry.path, { ...numbersOf(entry), inode: index + 1, size: data.length }), padded(data))
  })
  const none = { mode: 0, major: 0, minor: 0, links: 1, inode: 0, size: 0 }
  parts.push(header(TRAILER, none))
  return new Uint8Array(Buffer.concat(parts))
}

interface Numbers {
  mode: number
  major: number
  minor: number
  links: number
}

function numbersOf(entry: CpioEntry): Numbers {
  const device = entry.kind === 'character-device' ? entry : { major: 0, minor: 0 }
  const permissions = entry.kind === 'symlink' ? 0o777 : entry.mode
  return {
    mode: TYPE_BITS[entry.kind] | permissions,
    major: device.major,
    minor: device.minor,
    links: entry.kind === 'directory' ? 2 : 1,
  }
}

function dataOf(entry: CpioEntry): Uint8Array {
  switch (entry.kind) {
    case 'file':
      return entry.data
    case 'symlink':
      return new TextEncoder().encode(entry.target)
    case 'directory':
    case 'character-device':
      return new Uint8Array()
  }
}

/** 110 characters of magic and fields, then the name with its NUL, padded together. */
function header(path: string, n: Numbers & { inode: number; size: number }): Uint8Array {
  const name = new TextEncoder().encode(`${path}\0`)
  const fields = [n.inode, n.mode, 0, 0, n.links, 0, n.size, 0, 0, n.major, n.minor, name.length, 0]
  const text = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('')
  return padded(Buffer.concat([new TextEncoder().encode(text), name]))
}

function padded(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array((bytes.length + 3) & ~3)
  result.set(bytes)
  return result
}
