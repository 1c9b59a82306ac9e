import { SHELLS, writeCompletion } from '../completion/completion.ts'
import { UsageError } from '../errors.ts'
import type { Command } from '../options.ts'

/** `commands` are those to be completed. */
export const completionCommand = (commands: () => readonly Command[]): Command => ({
  name: 'completion',
  summary: 'Print a completion script for a shell.',
  arguments: ['SHELL'],
  completeArguments: SHELLS,
  options: {},
  notes: `Shells: ${SHELLS.join(', ')}. For bash: source <(typevisor completion bash)`,
  run: async ({ positionals: [shell] }) => {
    const known = SHELLS.find((name) => name === shell)
    if (!known) {
      throw new UsageError(
        'TV_OPTION_VALUE',
        `There is no completion for ${shell}; known shells: ${SHELLS.join(', ')}.`,
      )
    }
    process.stdout.write(writeCompletion(known, commands()))
    return 0
  },
})
