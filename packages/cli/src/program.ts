import { readFile } from 'node:fs/promises'
import { COMMANDS } from './commands/index.ts'
import { UsageError } from './errors.ts'
import { type Command, columns, commandHelp, parseCommandLine } from './options.ts'

/** Runs the program with its arguments; gives the status to end with, or throws what `describeError` describes. */
export async function runProgram(args: readonly string[]): Promise<number> {
  const [first, second] = args
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    process.stdout.write(programHelp())
    return 0
  }
  if (first === '--version') {
    process.stdout.write(`typevisor ${await version()}\n`)
    return 0
  }
  if (first.startsWith('-')) {
    throw new UsageError('TV_OPTION_UNKNOWN', `There is no option ${first}; see 'typevisor --help'.`)
  }
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `))
  if (group.length > 0 && (second === undefined || second === '--help' || second === '-h')) {
    if (second === undefined)
      throw new UsageError('TV_ARGUMENT_MISSING', `'typevisor ${first}' needs ${choices(group)}.`)
    process.stdout.write(groupHelp(first, group))
    return 0
  }
  return runCommand(findCommand(first, second, group), args)
}

function findCommand(first: string, second: string | undefined, group: readonly Command[]): Command {
  const command = COMMANDS.find(({ name }) => name === first || name === `${first} ${second}`)
  if (command) return command
  if (group.length > 0) {
    const message = `There is no command '${first} ${second}'; 'typevisor ${first}' has ${choices(group)}.`
    throw new UsageError('TV_COMMAND_UNKNOWN', message)
  }
  throw new UsageError('TV_COMMAND_UNKNOWN', `There is no command ${first}; see 'typevisor --help'.`)
}

async function runCommand(command: Command, args: readonly string[]): Promise<number> {
  const input = parseCommandLine(command, args.slice(command.name.split(' ').length))
  if (!input.switches.has('help')) return command.run(input)
  process.stdout.write(commandHelp(command))
  return 0
}

const choices = (group: readonly Command[]) => group.map(({ name }) => name.split(' ')[1]).join(', ')

const summaries = (commands: readonly Command[]) =>
  columns(commands.map((command) => [[command.name, ...command.arguments].join(' '), command.summary]))

function groupHelp(first: string, group: readonly Command[]): string {
  return `Usage: typevisor ${first} COMMAND [OPTION]...\n\nCommands:\n${summaries(group)}\n`
}

function programHelp(): string {
  return `Usage: typevisor COMMAND [OPTION]...

Machines wherever TypeScript runs.

Commands:
${summaries(COMMANDS)}

  --help, --version; 'typevisor COMMAND --help' tells more of a command.

Exit status: 0 when all went well, 1 after an error, 2 for a wrong command line; of run see 'typevisor run --help'.
`
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
