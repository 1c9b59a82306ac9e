import type { HostDescription } from './host-description.ts'
import type { Width } from './record.ts'
import type { Results } from './results.ts'
import { markdownTable, memoryTable, promiseTable, rateTable, speedTable, type Table } from './tables.ts'

const COMMAND = 'npm run bench -- --width 32,64 --rounds 3 --json bench.json --report docs'

/** The report as a page; `picture` is the plot's path as seen from it. */
export function markdownReport(results: readonly Results[], host: HostDescription, picture?: string): string {
  const blocks = [
    '# Benchmarks',
    introduction(results),
    ...(picture === undefined ? [] : [`![Speed of each program relative to QEMU's TCG](${picture})`]),
    '## Host',
    hostLines(results, host).join('\n'),
    ...results.flatMap(widthBlocks),
    '## Do it again',
    `\`\`\`sh\nnpm ci\n${COMMAND}\n\`\`\``,
    HOW,
  ]
  return `<!-- Written by npm run bench -- --report; what is changed here by hand is lost. -->\n\n${blocks.join('\n\n')}\n`
}

function introduction(results: readonly Results[]): string {
  const rounds = Math.max(0, ...results.map(roundsOf))
  const median = rounds > 1 ? `, medians of ${rounds} rounds in which the subjects took turns` : ''
  return [
    'Each program does the same work in the same guest (kernel, initramfs, 512 MB of RAM, one processor) on every subject.',
    `Seconds are by the host's clock${median}.`,
    "*× subject* is that subject's time divided by ours: more than 1 is faster.",
  ].join('\n')
}

function roundsOf(results: Results): number {
  const runs = results.subjects.flatMap((subject) =>
    results.programs.map((program) => results.runs(subject, program).length),
  )
  return Math.max(0, ...runs)
}

const HOW = `QEMU comes from the system, v86 from npm, its BIOS, the kernels and (without gcc-multilib) the 32-bit C library from
Debian's packages; nothing is installed. \`--rounds\`, \`--programs\` and \`--repetitions\` make it shorter or steadier,
\`--from bench.json --report docs\` writes this page again without measuring.`

function hostLines(results: readonly Results[], host: HostDescription): string[] {
  const measured = new Set(results.flatMap(({ subjects }) => subjects))
  const kernels = ([64, 32] as const).flatMap((width: Width) => host.kernels[width] ?? [])
  return [
    `- ${host.cpu}, ${host.cores} cores, ${host.memoryGib} GiB; ${host.date}`,
    `- Node ${host.node}`,
    ...(measured.has('qemu-tcg') && host.qemu ? [`- QEMU ${host.qemu}, \`-accel tcg\``] : []),
    ...(measured.has('v86') && host.v86 ? [`- v86 ${host.v86}`] : []),
    `- Debian's kernel ${kernels.join(' and ')}`,
  ]
}

function widthBlocks(results: Results): string[] {
  const titled: [string, Table | undefined][] = [
    ['Promises', promiseTable(results)],
    ['Times and speeds', speedTable(results)],
    ['Memory', memoryTable(results)],
    ['Instruction rates', rateTable(results)],
  ]
  const sections = titled.flatMap(([title, table]) =>
    table === undefined ? [] : [`### ${title}`, markdownTable(table).trimEnd()],
  )
  return [`## ${results.width}-bit guests`, ...sections]
}
