/** A port: its guest's side is open; the host's is the host's to open again. */
export interface ConsolePortState {
  guestOpen: boolean
  /** Bytes of the transmit queue's first chain that the sink has taken already. */
  taken: number
}

export interface VirtioConsoleState {
  version: 1
  columns: number
  rows: number
  ports: ConsolePortState[]
  /** Control messages that wait for a buffer: port and event. */
  pending: [number, number][]
}
