// Completion scripts, written from the table of commands.

import { type Command, HELP, hasOptionalValue, type Option } from '../options.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export function writeCompletion(shell: Shell, commands: readonly Command[]): string {
  switch (shell) {
    case 'bash':
      return bash(commands)
    case 'zsh':
      return `#compdef typevisor\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`
    case 'fish':
      return fish(commands)
  }
}

const optionsOf = (command: Command): [string, Option][] => Object.entries({ ...command.options, help: HELP })

/** What may follow "typevisor": each first word with its second words. */
function firstWords(commands: readonly Command[]): Map<string, string[]> {
  const words = new Map<string, string[]>()
  for (const { name } of commands) {
    const [first, second] = name.split(' ')
    words.set(first, [...(words.get(first) ?? []), ...(second ? [second] : [])])
  }
  return words
}

function bash(commands: readonly Command[]): string {
  const words = firstWords(commands)
  const groups = [...words].filter(([, seconds]) => seconds.length > 0)
  return `_typevisor() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "${[...words.keys()].join(' ')} --help --version" -- "$word"))
    return
  fi
  case $command in
${groups.map(([first, seconds]) => bashGroup(first, seconds)).join('\n')}
  esac
  case $command in
${commands.map(bashCommand).join('\n')}
  esac
}
complete -F _typevisor typevisor
`
}

function bashGroup(first: string, seconds: readonly string[]): string {
  return `    ${first})
      if [ "$COMP_CWORD" = 2 ]; then
        COMPREPLY=($(compgen -W "${seconds.join(' ')} --help" -- "$word"))
        return
      fi
      command="$command \${COMP_WORDS[2]}" ;;`
}

function bashCommand(command: Command): string {
  const options = optionsOf(command)
  const values = options
    .filter(([, option]) => option.value && !hasOptionalValue(option))
    .map(([name, { complete }]) => `        --${name}) ${bashValues(complete)}return ;;`)
  const words = [...options.map(([name]) => `--${name}`), ...(command.completeArguments ?? [])].join(' ')
  return `    "${command.name}")
      case $previous in
${values.join('\n')}
      esac
      COMPREPLY=($(compgen -W "${words}" -- "$word")) ;;`
}

function bashValues(complete: Option['complete']): string {
  if (complete === undefined) return ''
  const generate = complete === 'file' ? '-f' : `-W "${complete.join(' ')}"`
  return `COMPREPLY=($(compgen ${generate} -- "$word")); `
}

function fish(commands: readonly Command[]): string {
  const lines = ['complete -c typevisor -f']
  for (const [first, seconds] of firstWords(commands)) {
    lines.push(`complete -c typevisor -n __fish_use_subcommand -a ${first}`)
    if (seconds.length === 0) continue
    const condition = `__fish_seen_subcommand_from ${first}; and not __fish_seen_subcommand_from ${seconds.join(' ')}`
    lines.push(`complete -c typevisor -n ${quote(condition)} -a ${quote(seconds.join(' '))}`)
  }
  for (const command of commands) lines.push(...fishCommand(command))
  return `${lines.join('\n')}\n`
}

function fishCommand(command: Command): string[] {
  const seen = command.name.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`)
  const prefix = `complete -c typevisor -n ${quote(seen.join('; and '))}`
  const options = optionsOf(command).map(([name, option]) => {
    const { help, value, complete } = option
    const values = hasOptionalValue(option)
      ? ''
      : complete === 'file'
        ? ' -rF'
        : complete
          ? ` -xa ${quote(complete.join(' '))}`
          : value
            ? ' -x'
            : ''
    return `${prefix} -l ${name} -d ${quote(help)}${values}`
  })
  const names = command.completeArguments?.join(' ')
  return names ? [...options, `${prefix} -a ${quote(names)}`] : options
}

const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
