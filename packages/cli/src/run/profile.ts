// What --profile prints, and the folded stacks that flame graph tools read.

import type { MachineStatistics, Profile, ProfilePlace } from '@typevisor/host'
import type { Symbols } from './symbols.ts'

const MOST_PAGES = 10
const MOST_ADDRESSES = 20

/** Tables for a person: where the time went, and the pages and addresses with most of it. */
export function profileTable(profile: Profile, machine: MachineStatistics, symbols?: Symbols): string {
  const total = machine.seconds * 1e9
  const share = (time: number): string => `${(total > 0 ? (time / total) * 100 : 0).toFixed(1).padStart(5)} %`
  const line = ({ time, recompiledTime, mode, address }: ProfilePlace, name = ''): string => {
    const recompiled = `${Math.round(time > 0 ? (recompiledTime / time) * 100 : 0)} %`.padStart(6)
    return `${share(time)}  ${recompiled} recompiled  ${mode.padEnd(6)}  ${hex(address)}  ${name}`.trimEnd()
  }
  const nameOf = ({ mode, address }: ProfilePlace) => (mode === 'kernel' ? symbols?.find(address) : undefined)
  return [
    `Of ${machine.seconds.toFixed(3)} seconds, by ${profile.samples} samples:`,
    ...modes(profile, machine).map(([name, time]) => `${share(time)}  ${name}`),
    'Pages:',
    ...profile
      .pages()
      .slice(0, MOST_PAGES)
      .map((place) => line(place)),
    'Addresses, which are targets of branches:',
    ...profile
      .addresses()
      .slice(0, MOST_ADDRESSES)
      .map((place) => line(place, nameOf(place))),
    '',
  ].join('\n')
}

function modes(profile: Profile, machine: MachineStatistics): [name: string, time: number][] {
  const times = { kernel: 0, user: 0 }
  for (const { mode, time } of profile.addresses()) times[mode] += time
  const running = machine.runningSeconds * 1e9
  const inside = machine.cpu?.timeInside
  return [
    ['kernel', times.kernel],
    ['user', times.user],
    ['kernel or user, in slices that end with a halt', profile.untilHalt],
    ['halted, or waiting for the host', machine.seconds * 1e9 - running],
    ...(inside === undefined
      ? []
      : [['of all these, in exits from WebAssembly', running - inside] as [string, number]]),
  ]
}

/** A line for each place: its frames, as in "kernel;ffffffff81000000;memcpy", and microseconds. */
export function foldedStacks(profile: Profile, machine: MachineStatistics, symbols?: Symbols): string {
  const stacks = new Map<string, number>()
  const add = (stack: string, time: number) => stacks.set(stack, (stacks.get(stack) ?? 0) + time)
  for (const { mode, address, time } of profile.addresses()) {
    const name = (mode === 'kernel' && symbols?.find(address)) || hex(address)
    add(`${mode};${hex((address >> 12n) << 12n)};${name}`, time)
  }
  add('until a halt', profile.untilHalt)
  add('halted', (machine.seconds - machine.runningSeconds) * 1e9)
  const lines = [...stacks].map(([stack, time]) => `${stack} ${Math.round(time / 1000)}\n`)
  return lines.filter((line) => !line.endsWith(' 0\n')).join('')
}

const hex = (address: bigint): string => address.toString(16).padStart(16, '0')
