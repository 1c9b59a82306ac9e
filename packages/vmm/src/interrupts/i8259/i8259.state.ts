/** An 8259A and its half of the ELCR. */
export interface I8259State {
  version: 1
  lines: number
  irr: number
  isr: number
  imr: number
  elcr: number
  base: number
  lowest: number
  expectIcw: 0 | 2 | 3 | 4
  icw1: number
  icw4: number
  readIsr: boolean
  poll: boolean
  specialMask: boolean
  rotateInAutoEoi: boolean
}
