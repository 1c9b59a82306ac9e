/** An I/O APIC: its redirection table is two words for each pin. */
export interface IoApicState {
  version: 1
  select: number
  id: number
  lines: number
  low: number[]
  high: number[]
}
