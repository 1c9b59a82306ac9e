import type { Command } from '../options.ts'
import { completionCommand } from './completion.ts'
import { IMAGE_BUILD, IMAGE_LS, IMAGE_RM } from './image.ts'
import { RUN } from './run.ts'

/** All commands, in the order in which --help shows them. */
export const COMMANDS: readonly Command[] = [
  RUN,
  IMAGE_BUILD,
  IMAGE_LS,
  IMAGE_RM,
  completionCommand(() => COMMANDS),
]
