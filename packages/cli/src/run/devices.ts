// What the options --disk, --net and --publish say. A value is a list with commas; a comma that is part of a name is
// written twice, as QEMU has it.

import type { DomainDisk, DomainNetwork, PortForward } from '@typevisor/host'
import { UsageError } from '../errors.ts'

const ON_OFF = { on: true, off: false } as const
const FORMATS = { raw: 'raw', qcow2: 'qcow2' } as const
const SERIAL = /^[\x21-\x7e]{1,20}$/
const PORT = /^\d{1,5}$/

interface Setting {
  readonly key: string
  readonly value: string | undefined
}

function wrong(option: string, text: string, why: string): UsageError {
  return new UsageError('TV_OPTION_VALUE', `--${option} ${text} is not understood: ${why}.`)
}

/** The first item, and the settings behind it. */
function readList(text: string): { first: string; settings: Setting[] } {
  const [first, ...rest] = text
    .split(/(?<!,),(?!,)|(?<=[^,](?:,,)+),(?!,)/)
    .map((item) => item.replaceAll(',,', ','))
  const settings = rest.map((item): Setting => {
    const at = item.indexOf('=')
    return at < 0 ? { key: item, value: undefined } : { key: item.slice(0, at), value: item.slice(at + 1) }
  })
  return { first, settings }
}

function oneOf<T>(choices: Record<string, T>, { key, value }: Setting, fail: (why: string) => UsageError): T {
  if (value !== undefined && Object.hasOwn(choices, value)) return choices[value]
  throw fail(`${key} is one of ${Object.keys(choices).join(', ')}`)
}

/** FILE[,format=raw|qcow2][,readonly][,serial=TEXT] */
export function parseDisk(text: string): DomainDisk {
  const fail = (why: string) => wrong('disk', text, why)
  const { first, settings } = readList(text)
  if (first === '') throw fail('it names no file')
  const disk: { -readonly [K in keyof DomainDisk]: DomainDisk[K] } = { path: first }
  for (const setting of settings) {
    const { key, value } = setting
    if (key === 'readonly') disk.readOnly = value === undefined || oneOf(ON_OFF, setting, fail)
    else if (key === 'format') disk.format = oneOf(FORMATS, setting, fail)
    else if (key === 'serial' && value !== undefined && SERIAL.test(value)) disk.serial = value
    else if (key === 'serial') throw fail('serial is up to 20 printable characters of ASCII')
    else throw fail(`it knows format, readonly and serial, not ${key}`)
  }
  return disk
}

/** none, or user[,mac=][,network=][,mtu=][,ipv6=off][,allow=]...[,deny=]...[,capture=] */
export async function parseNetwork(
  text: string,
  published: readonly string[],
): Promise<DomainNetwork | undefined> {
  const fail = (why: string) => wrong('net', text, why)
  const { first, settings } = readList(text)
  if (first !== 'user' && first !== 'none') throw fail('it is user or none')
  if (first === 'none') {
    if (settings.length > 0) throw fail('none has no settings')
    if (published.length > 0)
      throw new UsageError('TV_OPTION_VALUE', 'The option --publish needs a network: --net user.')
    return undefined
  }
  const network: { -readonly [K in keyof DomainNetwork]: DomainNetwork[K] } = {}
  const policy: { allow?: string[]; deny?: string[] } = {}
  for (const setting of settings) {
    const { key, value } = setting
    if (value === undefined || value === '') throw fail(`${key} needs a value`)
    if (key === 'mac' || key === 'network' || key === 'capture') network[key] = value
    else if (key === 'mtu') network.mtu = PORT.test(value) ? Number(value) : Number.NaN
    else if (key === 'ipv6') network.ipv6 = oneOf(ON_OFF, setting, fail)
    else if (key === 'allow' || key === 'deny') policy[key] = [...(policy[key] ?? []), value]
    else throw fail(`it knows mac, network, mtu, ipv6, allow, deny and capture, not ${key}`)
  }
  // Loaded here, since most machines have no network.
  const { readPolicy } = await import('@typevisor/host/net')
  return { ...network, policy: readPolicy(policy), publish: published.map(parsePublish) }
}

const FORWARD = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/

/** [ADDRESS:]HOST:GUEST[/udp]; the host's loopback, where no address is given. */
export function parsePublish(text: string): PortForward {
  const match = FORWARD.exec(text)
  if (!match) throw wrong('publish', text, 'it is written [ADDRESS:]HOST:GUEST[/udp], as in 8080:80')
  const [, ipv6, address = ipv6, host, guest, protocol = 'tcp'] = match
  return {
    protocol: protocol as 'tcp' | 'udp',
    hostPort: Number(host),
    guestPort: Number(guest),
    ...(address === undefined ? {} : { hostAddress: address }),
  }
}
