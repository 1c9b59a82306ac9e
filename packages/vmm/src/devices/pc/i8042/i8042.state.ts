/** An i8042 with a keyboard. `output` is what waits in front of the output buffer. */
export interface I8042State {
  version: 1
  command: number
  outputPort: number
  output: number[]
  pending: number
  keyboardParameter: number
  scanCodeSet: number
  wasCommand: boolean
}
