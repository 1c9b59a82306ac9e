/** A 16550A. `queue` is input that the host has handed over and the FIFO has not taken. */
export interface Uart16550State {
  version: 1
  ier: number
  fcr: number
  lcr: number
  mcr: number
  msr: number
  scratch: number
  divisor: number
  lineErrors: number
  thrInterrupt: boolean
  timeout: boolean
  fifo: number[]
  queue: number[]
}
