// apt without root: it reads the system's sources and keys, and keeps its lists, its cache and its (empty) record of
// what is installed in a directory of ours. apt(8) checks the signatures of the lists and the checksums of packages.
// apt.conf(5), "Directories".

import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CommandResult, runCommand } from './command.ts'
import { ImageError } from './errors.ts'

/** A package as apt knows it. */
export interface DebianPackage {
  name: string
  version: string
  /** Names of the packages it depends on; of alternatives the first. */
  depends: readonly string[]
  /** Size of the .deb. */
  bytes: number
}

const NETWORK =
  /Failed to fetch|Could not (resolve|connect)|Temporary failure|Connection (refused|timed out|failed)|Unable to connect/

/** Debian's names of the architectures that our guests have. */
export type DebianArchitecture = 'amd64' | 'i386'

export class PrivateApt {
  readonly #directory: string
  readonly #architecture: DebianArchitecture
  readonly #signal: AbortSignal | undefined
  /** What the last update complained about. */
  #updateWarnings = ''

  /** `directory` is an empty one of the caller's, who removes it. */
  constructor(
    directory: string,
    { architecture = 'amd64', signal }: { architecture?: DebianArchitecture; signal?: AbortSignal } = {},
  ) {
    this.#directory = directory
    this.#architecture = architecture
    this.#signal = signal
  }

  /**
   * Fetches the package lists. Of archives that are out of step apt keeps none of their lists; the others will do when
   * they have what is looked for. Gives the complaint about those that are missing.
   */
  async update(): Promise<string | undefined> {
    for (const part of ['state/lists/partial', 'cache/archives/partial', 'download']) {
      await mkdir(join(this.#directory, part), { recursive: true })
    }
    await writeFile(join(this.#directory, 'state/status'), '')
    const result = await this.#run('apt-get', ['update'])
    this.#updateWarnings = result.stderr
    if (result.status === 0) return undefined
    if (!NETWORK.test(result.stderr)) throw this.#failure('apt-get update', result)
    return firstComplaint(result.stderr)
  }

  /** The newest version of a package for the architecture. */
  async show(name: string): Promise<DebianPackage> {
    const result = await this.#run('apt-cache', ['show', '--no-all-versions', name])
    if (result.status === 0) return parsePackage(result.stdout)
    if (NETWORK.test(this.#updateWarnings)) throw networkError(this.#updateWarnings)
    throw new ImageError(
      'TV_IMAGE_PACKAGE',
      `apt knows no package ${name} for ${this.#architecture}; what is made from Debian's packages needs Debian's sources.`,
    )
  }

  /** Downloads and unpacks a package into `target`. */
  async unpack({ name, version }: DebianPackage, target: string): Promise<void> {
    const cwd = join(this.#directory, 'download')
    const result = await this.#run('apt-get', ['download', `${name}=${version}`], cwd)
    if (result.status !== 0) throw this.#failure(`apt-get download ${name}`, result)
    const file = (await readdir(cwd)).find((each) => each.startsWith(`${name}_`) && each.endsWith('.deb'))
    if (!file) throw new ImageError('TV_IMAGE_PACKAGE', `apt downloaded no file of package ${name}.`)
    const unpacked = await this.#run('dpkg-deb', ['-x', join(cwd, file), target])
    if (unpacked.status !== 0) throw this.#failure(`dpkg-deb -x ${file}`, unpacked)
  }

  async #run(command: string, args: readonly string[], cwd?: string): Promise<CommandResult> {
    const options = command === 'dpkg-deb' ? args : [...this.#options(), ...args]
    try {
      return await runCommand(command, options, {
        ...(cwd === undefined ? {} : { cwd }),
        ...(this.#signal ? { signal: this.#signal } : {}),
      })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
      throw new ImageError(
        'TV_IMAGE_NO_APT',
        `The image is made with Debian's apt, and ${command} is not installed here.`,
        { cause },
      )
    }
  }

  #options(): string[] {
    const state = join(this.#directory, 'state')
    const settings = [
      `Dir::State=${state}`,
      `Dir::State::status=${join(state, 'status')}`,
      `Dir::Cache=${join(this.#directory, 'cache')}`,
      `APT::Architecture=${this.#architecture}`,
      `APT::Architectures=${this.#architecture}`,
      'Acquire::Languages=none',
      'Acquire::Retries=2',
    ]
    // As root apt would fetch as the user _apt, who cannot write to our directory.
    if (process.getuid?.() === 0) settings.push('APT::Sandbox::User=root')
    return ['-q', ...settings.flatMap((setting) => ['-o', setting])]
  }

  #failure(what: string, { stderr }: CommandResult): ImageError {
    if (/No space left on device|not have enough free space/.test(stderr)) {
      return new ImageError('TV_IMAGE_NO_SPACE', `No space is left on the device for ${this.#directory}.`)
    }
    if (NETWORK.test(stderr)) return networkError(stderr)
    return new ImageError('TV_IMAGE_PACKAGE', `${what} failed: ${firstComplaint(stderr)}`)
  }
}

function networkError(stderr: string): ImageError {
  return new ImageError(
    'TV_IMAGE_NETWORK',
    `Debian's archive cannot be reached: ${firstComplaint(stderr.match(/.*(?:Failed to fetch|Could not|Unable to connect).*/)?.[0] ?? stderr)}`,
  )
}

/** apt's first error or warning, without its letter. */
function firstComplaint(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim())
  const line = lines.find((each) => each.startsWith('E: ')) ?? lines.find((each) => each) ?? 'no reason given'
  return line.replace(/^[EW]: /, '')
}

/** The first paragraph of deb-control(5) fields. */
export function parsePackage(text: string): DebianPackage {
  const fields = new Map<string, string>()
  for (const line of text.split('\n\n', 1)[0].split('\n')) {
    const match = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line)
    if (match) fields.set(match[1], match[2])
  }
  const name = fields.get('Package')
  const version = fields.get('Version')
  if (!name || !version) throw new ImageError('TV_IMAGE_PACKAGE', 'apt-cache show gave no package record.')
  const depends = (fields.get('Depends') ?? '').split(',').map((each) => each.trim().split(/[\s(|:]/, 1)[0])
  return {
    name,
    version,
    depends: depends.filter((each) => each !== ''),
    bytes: Number(fields.get('Size') ?? 0),
  }
}
