import { type Domain, Profile } from '@typevisor/host'
import type { CommandInput } from '../options.ts'
import { OutputFile } from './output-file.ts'
import { foldedStacks, profileTable } from './profile.ts'
import { runStatistics, statisticsTable } from './statistics.ts'
import { Symbols } from './symbols.ts'

interface Parts {
  readonly hasTable: boolean
  readonly statistics: OutputFile | undefined
  readonly profile: Profile | undefined
  readonly stacks: OutputFile | undefined
  readonly symbols: Symbols | undefined
}

/** What --stats and --profile say when a machine has ended. */
export class Reports {
  readonly #parts: Parts

  private constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Opens all files, so that a wrong name is told before the machine starts. */
  static async open({ values, switches }: Pick<CommandInput, 'values' | 'switches'>): Promise<Reports> {
    const opened = async (path: string | undefined) =>
      path === undefined ? undefined : OutputFile.open(path)
    const isProfiled = switches.has('profile') || values.profile !== undefined
    return new Reports({
      hasTable: switches.has('stats'),
      symbols: values.symbols === undefined ? undefined : await Symbols.read(values.symbols),
      statistics: await opened(values.stats),
      profile: isProfiled ? new Profile() : undefined,
      stacks: await opened(values.profile),
    })
  }

  get profile(): Profile | undefined {
    return this.#parts.profile
  }

  async write(machine: Domain['machine']): Promise<void> {
    const { hasTable, statistics, profile, stacks, symbols } = this.#parts
    const counted = machine.statistics()
    const ofRun = runStatistics(counted, process.resourceUsage().maxRSS * 1024)
    if (hasTable) process.stderr.write(`\n${statisticsTable(ofRun)}`)
    if (profile) process.stderr.write(`\n${profileTable(profile, counted, symbols)}`)
    await statistics?.write(`${JSON.stringify(ofRun, undefined, 2)}\n`)
    if (profile) await stacks?.write(foldedStacks(profile, counted, symbols))
  }
}
