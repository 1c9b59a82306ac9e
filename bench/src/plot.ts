// The plot of the report: a panel for each width, a row for each program, bars from the line at 1 (as fast as QEMU's
// TCG) to the left where slower and to the right where faster, on a logarithmic scale.

import { GROUPS, type Group } from './groups.ts'
import type { Subject } from './record.ts'
import type { Results } from './results.ts'
import { digits } from './tables.ts'

const REFERENCE = 'qemu-tcg'
const LABELS_WIDTH = 124
const PANEL_WIDTH = 400
const PANEL_GAP = 24
const MARGIN = 16
const HEADER_HEIGHT = 76
const AXIS_HEIGHT = 34
const BAR = 10
const ROW_GAP = 5
const GROUP_TITLE = 24
/** Room for the figure at a bar's end, on both sides. */
const FIGURE_WIDTH = 34

const STYLE = `
  .paper { fill: #ffffff; stroke: #d0d7de }
  text { font: 11px ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .panel { font-size: 13px; font-weight: 600 }
  .group { font-weight: 600; fill: #59636e }
  .quiet { fill: #59636e }
  .figure { font-size: 9px; fill: #59636e }
  .grid { stroke: #d8dee4; stroke-width: 1 }
  .one { stroke: #59636e; stroke-width: 1.5 }
  .own { fill: #1a7f64 }
  .other { fill: #c9862b }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #30363d }
    text { fill: #e6edf3 }
    .group, .quiet, .figure { fill: #9198a1 }
    .grid { stroke: #262c34 }
    .one { stroke: #9198a1 }
    .own { fill: #3fb68f }
    .other { fill: #d9a04a }
  }
`

interface Bar {
  name: Subject
  isOwn: boolean
  speed: number
}

interface PlotRow {
  program: string
  /** By panel. */
  bars: readonly (readonly Bar[])[]
}

interface PlotGroup {
  name: string
  rows: readonly PlotRow[]
}

/** The plot, or undefined where nothing was compared with TCG. */
export function speedPlot(all: readonly Results[]): string | undefined {
  const panels = all.filter(
    (results) => results.subjects.includes(REFERENCE) && comparedOf(results).length > 0,
  )
  const groups = GROUPS.flatMap((group) => plotGroup(group, panels))
  if (groups.length === 0) return undefined
  return drawing(panels, groups)
}

function comparedOf(results: Results): Subject[] {
  return results.subjects.filter((each) => each !== REFERENCE && each !== 'native')
}

function plotGroup({ name, programs }: Group, panels: readonly Results[]): PlotGroup[] {
  const rows = programs
    .map((program) => ({ program, bars: panels.map((results) => barsOf(results, program)) }))
    .filter(({ bars }) => bars.some((each) => each.length > 0))
  return rows.length === 0 ? [] : [{ name, rows }]
}

function barsOf(results: Results, program: string): Bar[] {
  return comparedOf(results).flatMap((name) => {
    const speed = results.speed(name, REFERENCE, program)
    return speed === undefined ? [] : [{ name, isOwn: results.engines.includes(name), speed }]
  })
}

/** Where a speed lies in a panel. */
interface Scale {
  ticks: readonly number[]
  x: (speed: number) => number
}

/** From the power of two below the slowest to that above the fastest, and 1 always between them. */
export function logScale(speeds: readonly number[], width: number): Scale {
  const low = Math.floor(Math.log2(Math.min(0.5, ...speeds)))
  const high = Math.ceil(Math.log2(Math.max(2, ...speeds)))
  const inner = width - 2 * FIGURE_WIDTH
  const x = (speed: number) => FIGURE_WIDTH + ((Math.log2(speed) - low) / (high - low)) * inner
  const step = high - low > 10 ? 2 : 1
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 2 ** (low + i))
  return { ticks: ticks.filter((tick) => Math.log2(tick) % step === 0), x }
}

const rowHeight = ({ bars }: PlotRow) => Math.max(1, ...bars.map((each) => each.length)) * BAR + ROW_GAP
const groupHeight = ({ rows }: PlotGroup) => GROUP_TITLE + rows.reduce((sum, row) => sum + rowHeight(row), 0)

function drawing(panels: readonly Results[], groups: readonly PlotGroup[]): string {
  const speeds = groups.flatMap(({ rows }) =>
    rows.flatMap(({ bars }) => bars.flat().map(({ speed }) => speed)),
  )
  const scale = logScale(speeds, PANEL_WIDTH)
  const height = groups.reduce((sum, group) => sum + groupHeight(group), 0)
  const lefts = panels.map((_, i) => MARGIN + LABELS_WIDTH + i * (PANEL_WIDTH + PANEL_GAP))
  const width = lefts.at(-1)! + PANEL_WIDTH + MARGIN
  const total = HEADER_HEIGHT + height + AXIS_HEIGHT
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img">`,
    `<title>Speed of each program relative to QEMU's TCG</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" x="0.5" y="0.5" width="${width - 1}" height="${total - 1}" rx="8"/>`,
    text(MARGIN, 26, "Speed relative to QEMU's TCG", 'title'),
    ...legend(panels, width),
    ...panels.flatMap((results, i) => panelFrame(results, lefts[i], scale, height)),
    ...drawGroups(groups, lefts, scale),
    '</svg>',
  ]
  return `${parts.join('\n')}\n`
}

/** The names of the bars, from the right end of the first line. */
function legend(panels: readonly Results[], width: number): string[] {
  const names = [...new Set(panels.flatMap(comparedOf))]
  let right = width - MARGIN
  return names.toReversed().flatMap((name) => {
    const label = name === 'v86' ? name : `Typevisor, ${name}`
    right -= label.length * 6 + 22
    const kind = panels.some(({ engines }) => engines.includes(name)) ? 'own' : 'other'
    return [
      `<rect class="${kind}" x="${right}" y="16" width="12" height="10" rx="2"/>`,
      text(right + 17, 25, label),
    ]
  })
}

function panelFrame({ width }: Results, left: number, scale: Scale, height: number): string[] {
  const bottom = HEADER_HEIGHT + height
  return [
    text(left + FIGURE_WIDTH, 52, `${width}-bit guest`, 'panel'),
    text(left + PANEL_WIDTH - FIGURE_WIDTH, 52, 'faster →', 'quiet', 'end'),
    ...scale.ticks.flatMap((tick) => {
      const x = (left + scale.x(tick)).toFixed(1)
      return [
        `<line class="${tick === 1 ? 'one' : 'grid'}" x1="${x}" x2="${x}" y1="${HEADER_HEIGHT - 14}" y2="${bottom + 4}"/>`,
        text(Number(x), bottom + 18, tickLabel(tick), 'quiet', 'middle'),
      ]
    }),
  ]
}

const tickLabel = (tick: number) => (tick < 1 ? `1/${1 / tick}` : `${tick}×`)

function drawGroups(groups: readonly PlotGroup[], lefts: readonly number[], scale: Scale): string[] {
  const parts: string[] = []
  let y = HEADER_HEIGHT
  for (const group of groups) {
    parts.push(text(MARGIN, y + 8, group.name, 'group'))
    y += GROUP_TITLE - 8
    for (const row of group.rows) {
      parts.push(...drawRow(row, y, lefts, scale))
      y += rowHeight(row)
    }
    y += 8
  }
  return parts
}

function drawRow(row: PlotRow, top: number, lefts: readonly number[], scale: Scale): string[] {
  const middle = top + (rowHeight(row) - ROW_GAP) / 2
  const bars = row.bars.flatMap((panel, i) =>
    panel.flatMap((bar, nth) => drawBar(bar, lefts[i], middle + (nth - panel.length / 2) * BAR, scale)),
  )
  return [text(MARGIN + LABELS_WIDTH - 8, middle + 4, row.program, '', 'end'), ...bars]
}

function drawBar({ isOwn, speed, name }: Bar, left: number, y: number, scale: Scale): string[] {
  const [one, end] = [left + scale.x(1), left + scale.x(speed)]
  const width = Math.max(1, Math.abs(end - one))
  const from = speed < 1 ? one - width : one
  const figure = digits(speed)
  const kind = isOwn ? 'own' : 'other'
  return [
    `<rect class="${kind}" x="${from.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 1}" rx="1"><title>${name}: ${figure}×</title></rect>`,
    speed < 1
      ? text(from - 4, y + BAR - 2, figure, 'figure', 'end')
      : text(from + width + 4, y + BAR - 2, figure, 'figure'),
  ]
}

function text(x: number, y: number, content: string, kind = '', anchor = 'start'): string {
  const attributes = `${kind ? ` class="${kind}"` : ''}${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`
  return `<text x="${x.toFixed(1)}" y="${y}"${attributes}>${content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`
}
