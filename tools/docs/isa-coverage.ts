/**
 * Writes docs/generated/isa-coverage.md from the instruction tables.
 *
 *   node tools/docs/isa-coverage.ts
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { instructions } from '../../packages/x86/src/isa/index.ts'
import type { Instruction } from '../../packages/x86/src/isa/instruction.ts'
import { excludedForms } from '../../packages/x86/src/testing/replay.ts'

export const COVERAGE_FILE: string = fileURLToPath(
  new URL('../../docs/generated/isa-coverage.md', import.meta.url),
)

const MODES = { only64: '64-bit only', no64: 'not in 64-bit mode' } as const

/** The page as Markdown. */
export function isaCoverage(all: readonly Instruction[] = instructions): string {
  const excluded = excludedForms(all)
  const byMnemonic = new Map<string, Instruction[]>()
  for (const instruction of all) {
    const list = byMnemonic.get(instruction.mnemonic) ?? []
    byMnemonic.set(instruction.mnemonic, [...list, instruction])
  }
  const rows = [...byMnemonic]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([mnemonic, list]) => row(mnemonic, list, excluded))
  const forms = all.reduce((count, { forms: own }) => count + own.length, 0)
  return [
    '# Instructions',
    '',
    'Written by `npm run docs` from the instruction tables in `packages/x86/src/isa`; a test keeps it true.',
    '',
    `${byMnemonic.size} mnemonics, ${forms} forms. Forms are in the notation of the manual's opcode column; those whose`,
    'last column says `recorded` are compared with at least 200 cases from a real CPU, the others say why not.',
    '',
    '| Mnemonic | Forms | Modes | Feature | Truth |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

function row(mnemonic: string, list: readonly Instruction[], excluded: ReadonlyMap<string, string>): string {
  const forms = list.flatMap(({ forms: own }) => own)
  const modes = new Set(forms.map(({ modes: mode }) => (mode ? MODES[mode] : 'all')))
  const features = new Set(list.flatMap(({ feature }) => (feature ? [feature] : [])))
  const reasons = new Set(
    list.flatMap((instruction) =>
      instruction.forms.map(
        (form) => excluded.get(`${mnemonic} ${form.bytes} ${form.operands.join()}`) ?? 'recorded',
      ),
    ),
  )
  const encodings = forms.map(
    ({ bytes, operands }) => `\`${bytes}${operands.length ? ` ${operands.join()}` : ''}\``,
  )
  return `| ${mnemonic.toUpperCase()} | ${encodings.join(' ')} | ${[...modes].join(', ')} | ${[...features].join(', ')} | ${[...reasons].join('; ')} |`
}

if (import.meta.main) writeFileSync(COVERAGE_FILE, isaCoverage())
