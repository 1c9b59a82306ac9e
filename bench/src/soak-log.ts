/** What a soak's guest had done by some time, and what its process used then. */
export interface SoakSample {
  seconds: number
  programs: number
  wrong: number
  rssBytes: number | null
  /** What the process had used of processors; null where the host does not tell. */
  cpuSeconds: number | null
}

export interface SoakMinute {
  programsPerSecond: number
  /** The same by the process's own time: what it would be on an idle host. */
  programsPerCpuSecond: number | null
  /** The most of the minute. */
  rssBytes: number | null
}

export interface SoakVerdict {
  /** What does not hold; nothing when all does. */
  complaints: string[]
}

const KEPT_SPEED = 0.95
const RSS_GROWTH = 1.05
/** The first minute is for warming up, the second is compared with the last. */
export const SHORTEST_MINUTES = 3

/** Samples of a soak; its first one is the start. */
export class SoakLog {
  readonly #samples: SoakSample[] = []

  add(sample: SoakSample): void {
    this.#samples.push(sample)
  }

  /** Minutes that are over. A minute ends with the last sample in it. */
  minutes(): SoakMinute[] {
    const samples = this.#samples
    const start = samples[0]?.seconds ?? 0
    const minuteOf = ({ seconds }: SoakSample) => Math.floor((seconds - start) / 60)
    const count = samples.length === 0 ? 0 : minuteOf(samples.at(-1)!)
    return Array.from({ length: count }, (_, minute) => {
      const from = samples.findLast((each) => minuteOf(each) < minute) ?? samples[0]
      const inside = samples.filter((each) => minuteOf(each) === minute)
      const to = inside.at(-1) ?? from
      const programs = to.programs - from.programs
      const seconds = to.seconds - from.seconds
      const cpuSeconds =
        to.cpuSeconds !== null && from.cpuSeconds !== null ? to.cpuSeconds - from.cpuSeconds : 0
      const memory = inside.map(({ rssBytes }) => rssBytes).filter((bytes) => bytes !== null)
      return {
        programsPerSecond: seconds > 0 ? programs / seconds : 0,
        programsPerCpuSecond: cpuSeconds > 0 ? programs / cpuSeconds : null,
        rssBytes: memory.length > 0 ? Math.max(...memory) : null,
      }
    })
  }

  /** Whether the last minute is as good as the second, and memory has stopped growing. */
  judge(): SoakVerdict {
    const minutes = this.minutes()
    if (minutes.length < SHORTEST_MINUTES) return { complaints: [`it ended in minute ${minutes.length + 1}`] }
    const wrong = this.#samples.at(-1)!.wrong
    const complaints = [...judgeSpeed(minutes), ...judgeMemory(minutes)]
    if (wrong > 0) complaints.unshift(`${wrong} programs ended with a wrong status`)
    return { complaints }
  }
}

/** By the process's own time where the host tells it: what else runs there is not the engine's fault. */
function judgeSpeed(minutes: readonly SoakMinute[]): string[] {
  const speed = ({ programsPerSecond, programsPerCpuSecond }: SoakMinute) =>
    programsPerCpuSecond ?? programsPerSecond
  const kept = speed(minutes.at(-1)!) / speed(minutes[1])
  return kept >= KEPT_SPEED ? [] : [`the last minute has ${percent(kept)} of the second's throughput`]
}

/** The last third of the minutes against those of the third before it. */
function judgeMemory(minutes: readonly SoakMinute[]): string[] {
  const third = Math.floor(minutes.length / 3)
  const most = (part: readonly SoakMinute[]) => Math.max(...part.map(({ rssBytes }) => rssBytes ?? 0))
  const grown = most(minutes.slice(-third)) / most(minutes.slice(-2 * third, -third))
  return grown > RSS_GROWTH ? [`memory grew to ${percent(grown)} in the last third`] : []
}

const percent = (ratio: number) => `${(ratio * 100).toFixed(1)} %`
