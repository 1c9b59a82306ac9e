// Options are tables: what is parsed, what --help prints and what the shells complete all come from them.

import { parseArgs } from 'node:util'
import { UsageError } from './errors.ts'

export interface Option {
  /** Without it the option is a switch. In brackets when it may be left out; then it is given after `=` alone. */
  value?: string
  help: string
  /** It may be given several times; all its values are in `lists`. */
  repeats?: boolean
  /** What a shell completes for its value. */
  complete?: 'file' | readonly string[]
}

export interface Command {
  /** As in "image build". */
  name: string
  summary: string
  /** Names of its positional arguments; in brackets when they may be left out. */
  arguments: readonly string[]
  completeArguments?: readonly string[]
  options: Record<string, Option>
  /** What --help says after the options. */
  notes?: string
  /** The status to end with. */
  run(input: CommandInput): Promise<number>
}

export interface CommandInput {
  positionals: string[]
  values: Record<string, string | undefined>
  /** Of options that may be repeated. */
  lists: Record<string, readonly string[] | undefined>
  switches: ReadonlySet<string>
}

export const HELP: Option = { help: 'Show this help.' }

/** Whether an option may stand without its value. */
export const hasOptionalValue = ({ value }: Option): boolean => value?.startsWith('[') ?? false

/** Reads a command's arguments. */
export function parseCommandLine(command: Command, args: readonly string[]): CommandInput {
  const table: Record<string, Option> = { ...command.options, help: HELP }
  const options = Object.fromEntries(
    Object.entries(table).map(([name, option]) => [
      name,
      name === 'help'
        ? { type: 'boolean' as const, short: 'h' }
        : { type: option.value && !hasOptionalValue(option) ? ('string' as const) : ('boolean' as const) },
    ]),
  )
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const input = {
    positionals: [] as string[],
    values: {} as Record<string, string>,
    lists: {} as Record<string, string[]>,
    switches: new Set<string>(),
  }
  for (const token of tokens) {
    if (token.kind === 'positional') input.positionals.push(token.value)
    else if (token.kind === 'option') readOption(token, table, command, input)
  }
  if (!input.switches.has('help')) checkPositionals(command, input.positionals)
  return input
}

function readOption(
  token: { name: string; rawName: string; value?: string | undefined },
  table: Record<string, Option>,
  command: Command,
  input: { values: Record<string, string>; lists: Record<string, string[]>; switches: Set<string> },
): void {
  const { name, rawName, value } = token
  if (!Object.hasOwn(table, name)) {
    const message = `There is no option ${rawName} of 'typevisor ${command.name}'; see 'typevisor ${command.name} --help'.`
    throw new UsageError('TV_OPTION_UNKNOWN', message)
  }
  const option = table[name]
  if (!option.value) {
    if (value !== undefined) throw new UsageError('TV_OPTION_VALUE', `The option ${rawName} takes no value.`)
    input.switches.add(name)
    return
  }
  if (hasOptionalValue(option)) {
    if (value === undefined) input.switches.add(name)
    else input.values[name] = value
    return
  }
  if (value === undefined)
    throw new UsageError('TV_OPTION_VALUE', `The option ${rawName} needs a value: ${option.value}.`)
  if (option.repeats) input.lists[name] = [...(input.lists[name] ?? []), value]
  else input.values[name] = value
}

function checkPositionals(command: Command, positionals: readonly string[]): void {
  const required = command.arguments.filter((name) => !name.startsWith('['))
  const extra = positionals[command.arguments.length]
  if (extra !== undefined) {
    const message = `'typevisor ${command.name}' has no use for the argument ${extra}.`
    throw new UsageError('TV_ARGUMENT_UNEXPECTED', message)
  }
  if (positionals.length < required.length) {
    const missing = required[positionals.length]
    throw new UsageError('TV_ARGUMENT_MISSING', `'typevisor ${command.name}' needs the argument ${missing}.`)
  }
}

export function commandHelp(command: Command): string {
  const usage = ['typevisor', command.name, ...command.arguments, '[OPTION]...'].join(' ')
  const rows = Object.entries({ ...command.options, help: HELP }).map(([name, option]) => [
    `--${name}${valueHelp(option)}`,
    option.help,
  ])
  const notes = command.notes ? `\n${command.notes}\n` : ''
  return `Usage: ${usage}\n\n${command.summary}\n\nOptions:\n${columns(rows)}\n${notes}`
}

function valueHelp(option: Option): string {
  if (!option.value) return ''
  return hasOptionalValue(option) ? `[=${option.value.slice(1)}` : ` ${option.value}`
}

/** Rows of two columns. */
export function columns(rows: readonly (readonly string[])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length)) + 2
  return rows.map(([first, second]) => `  ${first.padEnd(width)}${second}`).join('\n')
}

const UNITS: Record<string, number> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** "512M", "1G", "768MiB"; a number alone is MiB. */
export function parseMemory(text: string): number {
  const match = /^(\d{1,12})\s*(?:([kmg])(?:i?b)?)?$/i.exec(text)
  if (!match)
    throw new UsageError('TV_OPTION_VALUE', `${text} is no amount of memory; one is written as 512M or 1G.`)
  return Number(match[1]) * UNITS[(match[2] ?? 'm').toLowerCase()]
}
